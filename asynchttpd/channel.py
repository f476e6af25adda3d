"""One connection as a channel of asyncore: it moves bytes and keeps time, and does not know what the bytes mean.

It adds what asynchat's own channel lacks:
  early input -- while an answer is made or sent nothing is parsed; input that has come already is kept;
  turns       -- one connection may send, and get answers, only so much before it is the others' turn;
  deadlines   -- one for each state in which the client must do something (ioloop.py looks for late channels);
  an end      -- closing frees everything, and lingering makes sure that a last answer is not lost.

Not here: methods, statuses, heads, bodies (httpd.py).
"""

import enum
import errno
import logging
import os
import socket
import struct
import sys
import time
import types

from asynchttpd import logs, scoreboard
from asynchttpd.ioloop import asynchat
from asynchttpd.producers import TRUNCATED, Aborted, close_producer, goes_by_sendfile, release

log = logging.getLogger("httpd")

# This file, or this system, is not for sendfile(): a file of /proc, a sandbox.
SENDFILE_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOVERFLOW, errno.EOPNOTSUPP}


class State(enum.Enum):
    IDLE = "waiting for a request"
    HEAD = "collecting its head"
    BODY = "collecting its body"
    HANDLING = "the answer is being made; early input is kept, not parsed"
    SENDING = "the answer is on its way; early input is kept, not parsed"
    LINGERING = "our side is shut; input is discarded so that the answer survives"
    CLOSED = "the connection has ended"


IDLE, HEAD, BODY, HANDLING, SENDING, LINGERING, CLOSED = State

# Stands for the listener of a channel that was made without one.
NO_LISTENER = types.SimpleNamespace(
    row=[0] * scoreboard.CELLS,
    answers=[0] * 10,
    bytes=0,
    draining=False,
    reserve_spool=lambda size, free_space: True,
    make_room=lambda: False,
)


class Channel(asynchat.async_chat):
    r"""One connection, from accept() to the end.

    IDLE --first bytes-> HEAD --\r\n\r\n--> BODY --last byte--> HANDLING --answer made--> SENDING
      ^                    |  (no body: skipped)  |                                          |
      |                    +--- malformed, too large, too late: HANDLING an error            |
      +------------------------ kept alive: sent -------------------------------------------+
                                             LINGERING <--- close, input left -----+
                                                 |                                 |
                                               CLOSED <---- close -----------------+
    A head that comes in one piece skips HEAD.

    A child defines, and the channel calls:
      collect_incoming_data(data), found_terminator() -- as with asynchat: input has come
      queue_emptied() -- everything in the queue has left
      late() -- the deadline of a HEAD or a BODY has passed
      closed(state) -- the connection has ended, in *state*: free what belongs to the request
      subject -- the work under way, as the log names it
    A child calls:
      wait_for_request(timeout), hold_input() -- before and after a request has come; it sets the states in between
      producer_fifo.append(bytes or a producer), initiate_send() -- to queue, and to send
      stop_counting() -- after this answer the connection brings no other request
      linger(), close() -- to end
    To leave alone: the other methods that asyncore calls (handle_read, handle_write, readable, writable ...).

    Methods that every request passes through call their parents by name, as asynchat does: before Python 3.12 super()
    makes an object each time. So put mixins in front.
    """

    # Slots, since many connections may be idle: a dict with so many names takes a kilobyte more.
    __slots__ = (
        "began", "bytes_sent", "close_delimited", "counted", "deadline", "early", "had_answer", "input_left", "server",
        "state",
    )  # fmt: skip

    scheme = "http"  # of the URLs that lead here

    turn_budget = 2 * 1024 * 1024  # bytes sent to one client before the others have their turn
    turn_time = 0.002  # seconds for what else one client has sent already, likewise: more requests, more chunks

    idle_timeout = 15.0  # seconds between two requests
    send_timeout = 30.0  # seconds without the client taking a single byte
    linger_timeout = 2.0  # seconds for the client to read its last answer

    def __init__(self, sock, server=None, address=None, map=None):
        # If asyncore got the socket here, it would ask for the address, which accept() has returned already.
        asynchat.async_chat.__init__(self, map=map)
        sock.setblocking(False)
        self.set_socket(sock, map)
        self.connected = True
        self.server, self.addr = server or NO_LISTENER, address or sock.getpeername()
        self.server.row[scoreboard.CONNECTIONS] += 1
        self.counted = True  # on the scoreboard, as a connection that may bring another request
        self.input_left = False  # is there probably input that was not read?
        self.early = b""  # input that came while an answer was being made or sent
        self.had_answer = False
        self.bytes_sent = 0  # of the answer under way
        self.close_delimited = True  # does the end of the connection mark the end of the answer (RFC 9112 §6.3)?

    def wait_for_request(self, timeout):
        self.state, self.began = IDLE, None  # when the first byte of the request under way, or its whole head, came
        self.deadline = time.monotonic() + timeout

    # Bytes come in.

    def recv(self, buffer_size):
        """Return what came early, then what the socket has."""
        if self.early:
            data, self.early = self.early, b""
        else:
            data = asynchat.async_chat.recv(self, buffer_size)
            self.input_left = len(data) == buffer_size
        return data

    def handle_read(self):
        """Read; asynchat passes the bytes to collect_incoming_data() and calls found_terminator()."""
        asynchat.async_chat.handle_read(self)
        turn_ends = time.monotonic() + self.turn_time if self.early else 0
        while self.early and self.state is IDLE and time.monotonic() < turn_ends:
            asynchat.async_chat.handle_read(self)

    def hold_input(self):
        """A request is complete: keep the input that came behind it until the request is answered.

        One answer at a time: 180 kB of pipelined requests could queue 1 GB of answers, and take seconds.
        """
        self.early, self.ac_in_buffer = self.ac_in_buffer, b""

    def readable(self):
        return self.state is not HANDLING and self.state is not SENDING

    # Bytes go out.

    def writable(self):
        """Is there an answer to send or to finish, or early input? handle_write() goes on with either."""
        return self.state is SENDING or bool(self.producer_fifo) or (bool(self.early) and self.readable())

    def handle_write(self):
        self.initiate_send()
        if self.early and self.readable():
            self.handle_read()

    def initiate_send(self):
        """Send what is queued until the socket is full, or the client has had its share of this turn.

        It replaces asynchat's method, which sends one piece of at most 64 KiB a turn and forgets producers.
        """
        budget, sent_before, turn_ends = self.turn_budget, self.bytes_sent, None
        while self.producer_fifo and budget > 0:
            first = self.producer_fifo[0]
            if goes_by_sendfile(first):
                size = min(first.left, budget)
                sent = self.send_file(first, size)
            else:
                # Bytes are taken out before send(), which empties the queue if the client has left; a producer stays.
                if not hasattr(first, "more"):
                    piece = self.producer_fifo.popleft()
                elif (piece := first.more()) is None:
                    break  # nothing yet: it is asked again in the next turn
                elif not piece:
                    close_producer(self.producer_fifo.popleft())
                    continue
                size = len(piece)
                sent = self.send(piece)
                if sent < size:
                    self.producer_fifo.appendleft(memoryview(piece)[sent:])
            if self.state is CLOSED:
                self.producer_fifo.clear()
                return
            if self.state is not BODY:  # there it was 100 (Continue), which is no part of the answer
                self.bytes_sent += sent
            if sent < size:
                break
            budget -= sent
            if self.producer_fifo:  # most answers need no look at the clock
                now = time.monotonic()
                turn_ends = turn_ends or now + self.turn_time
                if now > turn_ends:
                    break
        if not self.producer_fifo:
            self.queue_emptied()
        elif self.state is not BODY and (self.bytes_sent > sent_before or self.deadline is None):
            self.deadline = time.monotonic() + self.send_timeout

    def send_file(self, producer, count):
        """Send *count* bytes of the producer's file; the kernel copies them, so that they never enter this process."""
        try:
            sent = os.sendfile(self.socket.fileno(), producer.fd, producer.position, count)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.handle_close()
            return 0
        except OSError as error:
            if error.errno not in SENDFILE_REFUSED:
                raise
            logs.warn_seldom("sendfile() refuses a file, which is read instead: %s", error.strerror)
            producer.by_sendfile = False
            return 0
        if sent == 0:  # and will be, each time: a loop that waits for more would spin
            raise Aborted(TRUNCATED)
        producer.advance(sent)
        if not producer.left:
            close_producer(self.producer_fifo.popleft())
        return sent

    # Time passes.

    def handle_timeout(self):
        """The deadline of the current state has passed."""
        if self.state is HEAD or self.state is BODY:
            if self.has_input():  # a busy loop has not come to it yet
                self.handle_read()
            if (self.state is HEAD or self.state is BODY) and self.deadline <= time.monotonic():
                self.late()
        elif self.state is not IDLE or not self.has_input():
            self.close()

    def is_idle(self):
        """Tell whether no request has come or begun to come, as far as we have read."""
        return self.state is IDLE and not self.early

    def has_input(self):
        """Tell whether the client has sent something that the busy loop has not read yet."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    # It ends.

    def drain(self, leave_at):
        """The server stops: keep an idle connection until *leave_at*, since a request may be on its way."""
        if self.is_idle():
            self.deadline = leave_at

    def linger(self):
        """Shut our side but read on for a while: closing with unread input resets, and can undo our answer."""
        self.early = b""
        self.state, self.deadline = LINGERING, time.monotonic() + self.linger_timeout
        self.set_terminator(None)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()  # the client has left

    def handle_close(self):
        """The client has left. asyncore may call this twice: for the end of the input, and for the hang-up."""
        if self.state is not CLOSED:
            log.debug("%s left", self.client)
            self.close()

    def close(self):
        """Give the connection back, what was queued for it, and what the child holds. Nothing stops it halfway."""
        if self.state is CLOSED:
            return
        state, self.state, self.deadline = self.state, CLOSED, None
        release(asynchat.async_chat.close, self)
        self.early = self.ac_in_buffer = b""
        release(self.stop_counting)
        queued = list(self.producer_fifo)
        self.producer_fifo.clear()
        for piece in queued:
            close_producer(piece)
        release(self.closed, state)

    def stop_counting(self):
        """Take this connection off the scoreboard: it will bring no more requests."""
        if self.counted:
            self.counted = False
            self.server.row[scoreboard.CONNECTIONS] -= 1

    def handle_error(self):
        """An exception has reached asyncore: log it and cut the connection."""
        error = sys.exc_info()[1]
        if isinstance(error, Aborted) or getattr(error, "errno", None) in (errno.EIO, errno.ESTALE):  # a disk's, too
            log.warning("%s cut off: %s", self.subject, error)
        elif isinstance(error, OSError):
            log.debug("%s left: %s", self.client, error)
        else:
            log.exception("%s failed", self.subject)
        if self.state is not CLOSED and self.bytes_sent and self.close_delimited:
            # The client would take the end of the connection for the end of the answer. A reset tells it otherwise.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def log_info(self, message, type="info"):
        """Log what asyncore would print."""
        log.debug("%s: %s", type, message)

    @property
    def client(self):
        """The client's address for the log."""
        return "{}:{}".format(*self.addr) if isinstance(self.addr, tuple) else str(self.addr)

"""A listening socket that several workers share. It accepts clients in batches, while there is room.

Not here: which channel a client gets (httpd.py), and how workers come and go (prefork.py).
"""

import errno
import heapq
import logging
import math
import os
import resource
import select
import socket
import sys
import time

from asynchttpd import logs, scoreboard
from asynchttpd.channel import BODY, HANDLING, HEAD, IDLE, LINGERING, SENDING, Channel
from asynchttpd.ioloop import WRITE_DELAY, asyncore

log = logging.getLogger("httpd")


UNIX_PEER = ("unix", "")  # in place of an address and a port: the other side of a Unix socket has no name


class Listener(asyncore.dispatcher):
    """A listening socket on *host* and *port*; port 0 lets the system choose.

    map -- an EventMap (ioloop.py); by default asyncore's own
    sockets -- sockets that listen already, in place of *host* and *port*. All but the first get a Door each.

    Raise OSError if it cannot listen there. A child defines handle_accepted(sock, addr), which makes a channel for a
    connection, and turn_away(sock, addr), which does so when there is no room, and returns the channel.
    """

    backlog = 1024  # connections the kernel keeps waiting; 5, as in many examples, overflows under load
    accept_batch = 16  # connections accepted at a time: they have waited longest, but those already here wait meanwhile
    accept_time = 0.25  # seconds a batch may take: the first request of each is handled at once, and may be slow
    pause = 1.0  # seconds without accepting when the process has no descriptors left
    descriptor_share = 0.75  # of the process's descriptors for connections; the rest is for files
    eviction = 16  # idle connections closed at a time when there is no room for a new one
    idle_grace = 0.5  # seconds that idle connections stay open when draining: a request may be on its way ...
    first_grace = 3.0  # ... and seconds from its accept for one without any yet: a slow link may lose its first request

    named = 5  # requests that the log names when they are cut off

    yields = 3  # times in a row that a worker with more connections than another lets that one accept
    yield_time = 0.0003  # seconds it sleeps if the other has no connection; if longer, a third worker takes too many

    spool_total = None  # bytes of bodies on the disk, of all workers; None: a tenth of what is free at the first
    siblings = ()  # rows of the other workers on the scoreboard
    max_requests = 0  # answers after which the process asks to be replaced; 0: never
    max_rss = 0  # bytes of memory, likewise
    deadline = None  # when to accept again (see ioloop)

    def __init__(self, host, port, map=None, sockets=()):
        super().__init__(map=map)
        if not sockets:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sockets = [socket.create_server((host, port), family=family, backlog=self.backlog)]
        for sock in sockets:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                # Inherited by every accepted socket. With Nagle's algorithm a small answer could wait 40 ms for an ACK.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.set_socket(sockets[0], map)
        self.accepting = True
        self.doors = [self, *(Door(sock, self, self._map) for sock in sockets[1:])]
        self.row = [0] * scoreboard.CELLS  # ours on the scoreboard, once a worker has one
        self.answers = [0] * 10  # how many so far, by the first digit of their status
        self.bytes = self.refused = 0  # sent; connections for which there was no room
        self.opened = time.monotonic()  # in a worker: when it began to serve
        self.draining = False
        self.yielded = 0
        self.spare = open_spare()  # a descriptor for when there are no more
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.max_connections = int(descriptors * self.descriptor_share)

    def close(self):
        super().close()
        for door in self.doors[1:]:
            door.close()
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None

    def readable(self):
        return self.deadline is None

    def writable(self):
        return False

    # Clients come in.

    def handle_accept(self):
        self.accept_from(self)

    def accept_from(self, door):
        """Let in a batch of the clients that wait at *door*, which may be ourselves."""
        now = time.monotonic()
        batch_ends, answers_due = now + self.accept_time, now + WRITE_DELAY
        for _ in range(self.accept_batch):
            now = time.monotonic()
            if now > batch_ends or self.yields_to_sibling():
                return
            # The answers to those accepted so far do not wait for the rest of the batch.
            if now > answers_due:
                self._map.update_touched()
                answers_due = time.monotonic() + WRITE_DELAY
            try:
                pair = door.accept()
            except OSError as error:
                self.handle_accept_error(error, door)
                return
            if pair is None:  # the queue is empty, or the client has left it
                return
            if not isinstance(pair[1], tuple):  # from a Unix socket, whose clients have no address
                pair = pair[0], UNIX_PEER
            if len(self._map) < self.max_connections or self.make_room():
                self.handle_accepted(*pair)
            else:
                self.refused += 1
                self.turn_away(*pair)

    def yields_to_sibling(self):
        """Tell whether to leave a new connection to a worker that has fewer; not for ever, since that may be stuck."""
        mine = self.row[scoreboard.CONNECTIONS]
        for row in self.siblings:
            theirs = row[scoreboard.CONNECTIONS]
            # A quarter more is fair enough: if shares had to be equal, a thousand clients would be accepted one by one.
            if theirs + theirs // 4 < mine and row[scoreboard.STATE] == scoreboard.SERVING:
                if self.yielded == self.yields:
                    break
                self.yielded += 1
                if theirs:
                    os.sched_yield()
                else:
                    # The only sleep in the loop, three times at most: the other is idle, and accepts if it gets a core.
                    time.sleep(self.yield_time)
                return True
        self.yielded = 0
        return False

    def make_room(self):
        """Close the connections that have been idle longest, those with an answer first; tell if there were any."""
        idle = [channel for channel in self._map.values() if isinstance(channel, Channel) and channel.is_idle()]
        oldest = heapq.nsmallest(self.eviction, idle, key=lambda channel: (not channel.had_answer, channel.deadline))
        silent = [channel for channel in oldest if not channel.has_input()]
        for channel in silent:
            channel.close()
        return bool(silent)

    def handle_accept_error(self, error, door):
        """Without descriptors or memory: make room or, at worst, pause. asyncore would close the listener for good."""
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            log.debug("cannot accept: %s", error)
            return
        if not somebody_waits_at(door.socket):
            return  # without a descriptor accept() fails before it looks into the queue
        logs.warn_seldom("cannot accept: %s", error.strerror)
        if not self.make_room() and not self.accept_with_spare(door):
            self.deadline = time.monotonic() + self.pause

    def accept_with_spare(self, door):
        """Use the descriptor kept for this to accept a client and turn it away; tell whether that was possible."""
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None
        try:
            if pair := door.accept():
                self.refused += 1
                channel = self.turn_away(*pair)
                channel.handle_read()  # closing with unread input would undo the answer
                channel.close()
            self.spare = open_spare()
        except OSError:
            return False
        return True

    def handle_timeout(self):
        self.deadline = None

    def handle_error(self):
        log.exception("cannot accept a connection")

    def reserve_spool(self, size, free_space):
        """Tell whether bodies may take *size* more bytes of the disk, and count them; a negative size gives back.

        free_space -- function that tells how many are free
        """
        if self.spool_total is None:
            self.spool_total = max(free_space() // 10, self.handler.max_body)
        taken = sum(row[scoreboard.SPOOLED] for row in (self.row, *self.siblings))
        if size > 0 and taken + size > self.spool_total:
            return False
        self.row[scoreboard.SPOOLED] += size
        return True

    # The worker's life.

    def report(self):
        """Once a second: write to the scoreboard what we did, and that the loop turns; ask to be replaced if due."""
        row = self.row
        row[scoreboard.TURNED] = int(time.monotonic() * 1000)
        requests, memory = sum(self.answers), resident_memory()
        row[scoreboard.REQUESTS], row[scoreboard.BYTES], row[scoreboard.REFUSED] = requests, self.bytes, self.refused
        row[scoreboard.RSS] = memory
        for cell, count in enumerate(self.answers[:6], scoreboard.ANSWERS.start):
            row[cell] = count
        self.report_loop(row)
        self.report_connections(row)
        doors = 0 if self.draining else len(self.doors)  # they are in the map, too
        row[scoreboard.OPEN] = len(self._map) - doors
        if 0 < self.max_requests <= requests or 0 < self.max_rss <= memory:
            self.ask_for_successor(f"after {requests} requests")

    def report_loop(self, row):
        idle = self._map.idle
        row[scoreboard.BUSY] = int(1e6 * (time.monotonic() - self.opened - idle))
        row[scoreboard.IDLE], row[scoreboard.LAG] = int(1e6 * idle), int(1e6 * self._map.lag)

    def report_connections(self, row):
        channels = [channel for channel in self._map.values() if isinstance(channel, Channel)]
        states = [channel.state for channel in channels]
        for cell, state in enumerate((IDLE, HEAD, BODY, HANDLING, SENDING, LINGERING), scoreboard.STATES.start):
            row[cell] = states.count(state)
        began = [channel.began for channel in channels if channel.began is not None]
        row[scoreboard.OLDEST] = int(1e6 * (time.monotonic() - min(began))) if began else 0

    def ask_for_successor(self, why):
        """Ask the master for a worker in place of this one, once; *why* is for the log."""
        if self.row[scoreboard.STATE] == scoreboard.SERVING:
            log.info("asking to be replaced: %s", why)
            self.max_requests = self.max_rss = 0
            self.row[scoreboard.STATE] = scoreboard.RETIRING

    def drain(self):
        """Stop accepting and finish what has begun; the map is empty in the end."""
        if self.draining:
            return
        self.draining, self.siblings, self.accept_time = True, (), math.inf
        for _ in range(self.backlog // self.accept_batch):
            for door in self.doors:
                self.accept_from(door)  # closing would reset the connections in the queue
        self.close()
        leave_at = time.monotonic() + self.idle_grace
        for channel in self._map.values():
            if isinstance(channel, Channel):
                channel.drain(leave_at)
        self._map.sweep_at = leave_at

    def last_words(self):
        """The master is about to end this process: log which requests are not answered, and send what is ready."""
        channels = [channel for channel in self._map.values() if isinstance(channel, Channel)]
        if late := [channel.subject for channel in channels if channel.state is HANDLING]:
            others = f" and {len(late) - self.named} more" * (len(late) > self.named)
            log.warning("not answered yet: %s%s", ", ".join(late[: self.named]), others)
        if self.row[scoreboard.STATE] == scoreboard.HUNG:  # in one request; a loop that turns has sent all others'
            self._map.end_turn()


class Door(asyncore.dispatcher):
    """One more listening socket of a *listener*, which does all the work."""

    def __init__(self, sock, listener, map):
        super().__init__(map=map)
        self.set_socket(sock, map)
        self.accepting, self.listener = True, listener

    def readable(self):
        return self.listener.readable()

    def writable(self):
        return False

    def handle_accept(self):
        self.listener.accept_from(self)

    def handle_error(self):
        self.listener.handle_error()


def somebody_waits_at(sock):
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def open_spare():
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def resident_memory():
    """Return the bytes of memory that this process takes (Linux; on other systems its peak)."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:  # there is no /proc, or no descriptor for it
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

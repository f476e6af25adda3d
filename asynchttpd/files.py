"""An asynchronous HTTP/1.1 file server on asyncore and asynchat: `python httpd.py -r www -w 4`.

This is the HTTP story from top to bottom. A listening socket (AsyncServer) makes one channel
(AsyncHTTPRequestHandler) for every connection; the channel collects a request, has a do_* method answer it,
and sends the answer as fast as the client takes it. Nothing here waits: whatever cannot go on at once returns
to the loop, which comes back when the socket is ready.

The parts that can be understood alone are in asynchttpd/:
http1.py        what bytes are a request, and where it ends (RFC 9112)
conditional.py  has the client got this already, which part does it want (RFC 9110 §13, §14)
ioloop.py       the loop under asyncore's channels
prefork.py      one master process, several workers on one socket; scoreboard.py is what they tell each other
listing.py      a folder as a page
accesslog.py    one line for each answer
command_line.py the options, and the life of master and workers

What only some servers ever need, such as listing.py, is imported where it is used: at the top it would be a third of
the time to start, and of the memory of each worker.

Not here: TLS, HTTP/2, compression on the fly, CGI. See docs/rfc.md for what HTTP asks for and where it is done.
"""

import enum
import errno
import functools
import heapq
import http
import io
import logging
import math
import os
import resource
import socket
import stat
import struct
import sys
import time
import types

from asynchttpd import accesslog, command_line, conditional, http1, scoreboard
from asynchttpd.http1 import HTTPError
from asynchttpd.ioloop import HELD, asynchat, asyncore, loop

log = logging.getLogger("httpd")

HAS_SENDFILE = sys.platform == "linux"  # elsewhere os.sendfile() differs, and files are read in pieces

CONTENT_TYPES = {
    ".css": "text/css",
    ".gif": "image/gif",
    ".htm": "text/html",
    ".html": "text/html",
    ".gz": "application/gzip",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".swf": "application/x-shockwave-flash",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".zip": "application/zip",
}

# Only pure functions are remembered: the answer for a second never changes.
http_date = functools.lru_cache(maxsize=256)(conditional.http_date)
last_modified = functools.lru_cache(maxsize=256)(conditional.last_modified)
preferred_codings = functools.lru_cache(maxsize=256)(conditional.preferred_codings)


def url_normalize(path):
    """Return the absolute *path* of a URL, already percent-decoded, without "." and ".." segments and doubled "/".

    ".." at the root stays at the root (RFC 3986 §5.2.4).

    >>> url_normalize("/a/./b//../../c/"), url_normalize("/../../etc/passwd"), url_normalize("/.well-known/x")
    ('/c/', '/etc/passwd', '/.well-known/x')
    """
    if "//" not in path and "/." not in path:
        return path  # as nearly every one
    segments = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    is_folder = path.endswith(("/", "/.", "/..")) and segments
    return "/" + "/".join(segments) + ("/" if is_folder else "")


class Aborted(Exception):
    """An answer whose head is made cannot be completed: the connection must be cut so that the client can tell."""


class FileProducer:
    """Hands out an open binary *file* from its current position, piece by piece; asynchat calls it a producer.

    file -- closed by close(), which the channel calls when the last piece has left or the client is gone
    chunk_size -- bytes of a piece at most
    count -- bytes in all; None means to the end of the file. With a count the file must keep its promise:
             a head with that Content-Length has been sent.
    left -- bytes still to come, None if only more() can tell
    """

    def __init__(self, file, chunk_size=4096, count=None):
        self.file, self.chunk_size, self.left = file, chunk_size, count

    def more(self):
        """Return the next piece, b"" after the last; raise Aborted if the file has been cut short meanwhile."""
        if self.left is None:
            return self.file.read(self.chunk_size)
        if self.left == 0:
            return b""
        piece = self.file.read(min(self.chunk_size, self.left))
        if not piece:
            raise Aborted("file was truncated while it was being sent")
        self.left -= len(piece)
        return piece

    def close(self):
        self.file.close()


class SendfileProducer(FileProducer):
    """A FileProducer with a count, of a regular file opened without a buffer: sendfile() may send it.

    A class of its own, since of any other file the descriptor may not give what more() does: a gzip file's, for one.
    """


def goes_by_sendfile(producer):
    return HAS_SENDFILE and isinstance(producer, SendfileProducer) and producer.left


def close_producer(producer):
    if hasattr(producer, "close"):  # asynchat asks for nothing but more()
        producer.close()


class ChunkedProducer:
    """Hands out what another producer does, framed as chunks of unknown number (RFC 9112 §7.1)."""

    def __init__(self, producer):
        self.producer = producer

    def more(self):
        return chunk(self.producer.more())

    def close(self):
        close_producer(self.producer)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class State(enum.Enum):
    IDLE = "waiting for a request"
    HEAD = "collecting its head"
    BODY = "collecting its body"
    HANDLING = "a do_* method, or the application, is making the answer"
    SENDING = "the answer is on its way; early input is kept, not parsed"
    LINGERING = "our side is shut; draining input so that the answer survives"
    CLOSED = "gone"


IDLE, HEAD, BODY, HANDLING, SENDING, LINGERING, CLOSED = State

# What a channel reports to that no AsyncServer has made.
NOBODY = types.SimpleNamespace(row=[0] * scoreboard.CELLS, requests=0, bytes=0, draining=False)


class AsyncHTTPRequestHandler(asynchat.async_chat):
    """One connection, and one after the other the requests on it; the methods do_GET, do_PUT ... answer them.

    IDLE --first bytes-> HEAD --\\r\\n\\r\\n--> BODY --last byte--> HANDLING --answer made--> SENDING
      ^                    |  (no body: skipped)  |                                          |
      |                    +--- malformed, too large, too late: HANDLING an error            |
      +------------------------ keep-alive: sent -------------------------------------------+
                                             LINGERING <--- close, input left -----+
                                                 |                                 |
                                               CLOSED <---- close -----------------+
    A head that comes in one piece skips HEAD.

    For callers: AsyncHTTPRequestHandler(sock) in a map of asyncore; AsyncServer does that.
    To override: do_<METHOD>, respond, and the class attributes below. As with http.server a method finds `command`,
    `path`, `headers`, `rfile` (the whole body) and answers with send_response, send_header, end_headers, then
    `wfile.write(bytes)` or push(bytes) or push_with_producer(producer). Without a Content-Length of its own
    the body is chunked.
    To leave alone: what asyncore calls (handle_read, handle_write, collect_incoming_data, found_terminator ...).
    Where each request passes, parents are called by name, as asynchat does it: before Python 3.12 super() makes an
    object every time. So mixins go in front.
    """

    # What a connection remembers, in slots: a dict with so many names takes a kilobyte more, and many may be idle.
    __slots__ = (  # noqa: RUF023
        "server", "counted", "state", "deadline", "input_left", "early", "pieces", "blank_bytes", "head_bytes",
        "command", "path", "request_version", "headers", "began", "spool", "decoder", "body_bytes", "body_started",
        "close_connection", "status", "head", "length", "bodiless", "chunked", "unsent", "head_sent", "bytes_sent",
    )  # fmt: skip

    root = "."  # folder that is served
    listing = False  # answer for a folder without index.html with a list of its entries?
    follow_symlinks = False  # serve what symbolic links outside the root lead to?
    cache = "no-cache"  # Cache-Control of files: kept, but asked about each time
    access_log = None  # an accesslog.AccessLog: told of every answer
    extra_fields = ()  # lines such as "Access-Control-Allow-Origin: *" for every answer
    coding_suffixes = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}  # of precompressed siblings
    server_version = "asynchttpd"
    max_body = 100 * 1024 * 1024  # bytes of a request body; above it 413
    spool_limit = 512 * 1024  # bytes of a body kept in memory; above it a temporary file
    chunk_size = 16384  # bytes of a file that is sent with its head, or read at a time where there is no sendfile()
    turn_budget = 256 * 1024  # bytes sent to one client before the others have their turn
    turn_time = 0.01  # seconds for requests that one client has pipelined, likewise

    header_timeout = 10.0  # seconds for a whole head, from its first byte (or from connecting)
    body_timeout = 10.0  # seconds of grace for a body ...
    body_rate = 500  # ... plus one for every so many bytes received
    idle_timeout = 15.0  # seconds between two requests
    send_timeout = 30.0  # seconds in which the client takes not a single byte
    linger_timeout = 2.0  # seconds for the client to read our last answer
    retry_after = 5  # seconds, said with 503
    error_page_limit = 1024 * 1024  # bytes read of 404.html

    ac_in_buffer_size = 16384  # bytes a recv; what one client's pipelined requests may cost the others
    body_buffer_size = 262144  # bytes a recv while a body comes in, which costs little more than copying

    responses = {status.value: (status.phrase, status.description) for status in http.HTTPStatus}

    def __init__(self, sock, server=None, address=None, map=None):
        # Given the socket, asyncore would ask the system for the address that accept() has told already.
        asynchat.async_chat.__init__(self, map=map)
        sock.setblocking(False)
        self.set_socket(sock, map)
        self.connected = True
        self.server, self.addr = server or NOBODY, address or sock.getpeername()
        self.server.row[scoreboard.CONNECTIONS] += 1
        self.counted = True
        self.input_left = False  # is there input that nobody has read?
        self.early = b""  # input that came while an answer was being made or sent
        self.pieces = []  # of a head that is not complete
        self.blank_bytes = self.head_bytes = 0
        self.reset_request()
        self.set_terminator(b"\r\n\r\n")
        self.await_request(self.header_timeout)

    # A request comes in.

    def reset_request(self):
        """Forget everything about one request. With keep-alive whatever stays is a leak between strangers."""
        self.command = self.path = self.request_version = ""
        self.headers = self.spool = self.decoder = None  # no headers: no request has been understood
        self.close_connection = False  # after this answer
        self.status = self.length = None  # of the answer, once it has them
        self.unsent = []  # pieces of the answer to be sent together
        self.head_sent = False
        self.bytes_sent = 0
        self.bodiless = self.chunked = False
        # The rest is set before it is read.

    def await_request(self, timeout):
        self.state = IDLE
        self.deadline = time.monotonic() + timeout

    def recv(self, buffer_size):
        """Return what came early, then what the socket has."""
        if self.early:
            data, self.early = self.early, b""
        else:
            data = asynchat.async_chat.recv(self, buffer_size)
            self.input_left = len(data) == buffer_size  # and probably more is waiting
        return data

    def handle_read(self):
        try:
            asynchat.async_chat.handle_read(self)  # recv, collect_incoming_data, found_terminator
            turn_ends = time.monotonic() + self.turn_time if self.early else 0
            while self.early and self.readable() and time.monotonic() < turn_ends:
                asynchat.async_chat.handle_read(self)
            if self.pieces:
                self.await_rest_of_head()
        except HTTPError as error:
            self.refuse(error)

    def collect_incoming_data(self, data):
        if self.state is BODY:
            self.collect_body(data)
        elif self.state is not LINGERING:
            if data[:1] in b"\r\n" and not self.pieces:
                data = self.skip_blank(data)
            if data:
                self.pieces.append(data)
                self.head_bytes += len(data)
                if self.head_bytes > http1.HEAD_LIMIT:
                    raise http1.oversized_head(b"".join(self.pieces))

    def found_terminator(self):
        self.parse_request()

    def parse_request(self):
        """A head, or the body behind it, is complete: go on with the other or handle the request."""
        if self.state is BODY:
            self.complete_request()
        elif not self.pieces:
            self.skip_blank(self.terminator)  # which came alone: two empty lines
        else:
            self.parse_headers()
            length = http1.body_framing(self.request_version, self.headers)
            wants_continue = http1.expects_continue(self.request_version, self.headers)
            if length == 0:
                self.complete_request()
            else:
                self.expect_body(length, wants_continue)

    def skip_blank(self, data):
        """Return *data* without empty lines at its start; a few before a request are tolerated (RFC 9112 §2.2)."""
        rest = data.lstrip(b"\r\n")
        self.blank_bytes += len(data) - len(rest)
        if self.blank_bytes > http1.BLANK_LIMIT:
            raise HTTPError(400, "too many empty lines before a request")
        return rest

    def await_rest_of_head(self):
        http1.check_partial_head(self.pieces[-1])
        if self.state is IDLE:
            self.state = HEAD
            self.deadline = time.monotonic() + self.header_timeout

    def parse_headers(self):
        """Take the head apart: method, target, protocol, fields. Raise HTTPError."""
        self.command, self.path, self.request_version, self.headers = http1.parse_head(b"".join(self.pieces))
        self.pieces.clear()
        self.blank_bytes = self.head_bytes = 0
        self.close_connection = self.server.draining or not http1.keep_alive(self.request_version, self.headers)
        if self.access_log is not None:
            self.began = time.monotonic()

    def expect_body(self, length, wants_continue):
        """Get ready for a body of *length* bytes, None if it is chunked; refuse it while it is still to come."""
        if length is not None and length > self.max_body:
            raise HTTPError(413, f"body of more than {self.max_body} bytes")
        if not self.handles(self.command):
            raise HTTPError(405, "no such method here")
        self.state = BODY
        self.body_bytes, self.body_started = 0, time.monotonic()
        self.deadline = self.body_started + self.body_timeout
        import tempfile

        self.spool = tempfile.SpooledTemporaryFile(self.spool_limit)  # closed by response_sent or close
        self.decoder = http1.ChunkedDecoder(self.max_body) if length is None else None
        self.ac_in_buffer_size = self.body_buffer_size
        self.set_terminator(length)  # None: asynchat hands on whatever comes
        if wants_continue and not self.ac_in_buffer:
            self.producer_fifo.append(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.initiate_send()

    def collect_body(self, data):
        if self.decoder:
            data = self.decoder.decode(data)
        self.body_bytes += len(data)
        try:
            self.spool.write(data)
        except OSError as error:
            raise HTTPError(507, f"cannot spool a body: {error}") from error
        if self.decoder and self.decoder.done:
            self.ac_in_buffer, self.decoder = self.decoder.rest, None
            self.complete_request()

    def complete_request(self):
        """Nothing of the request is missing: put aside what came behind it, and respond."""
        # One answer at a time: 180 kB of pipelined requests would queue 1 GB of answers, and take seconds.
        self.early, self.ac_in_buffer = self.ac_in_buffer, b""
        self.respond()

    def handles(self, method):
        """Tell whether requests of *method* are answered; asked before their body is read."""
        return hasattr(self, "do_" + method)

    def allowed_methods(self):
        return ", ".join(name.removeprefix("do_") for name in dir(self) if name.startswith("do_"))

    # It is handled.

    def respond(self):
        """Make the answer and send it. A child may put that off: while it keeps the state HANDLING nothing is read."""
        self.state, self.deadline = HANDLING, None
        if self.spool:
            self.spool.seek(0)
            del self.ac_in_buffer_size  # the class's again
            self.set_terminator(b"\r\n\r\n")
        self.attempt(self.handle_request)
        self.end_response()

    def attempt(self, function, *arguments):
        """Call *function*. What it raises becomes an error answer, or cuts one that is under way."""
        try:
            function(*arguments)
        except HTTPError as error:
            if self.head_sent:
                self.handle_error()
            else:
                self.send_error(error.status, fields=error.fields)
        except Exception as error:
            if self.head_sent or isinstance(error, Aborted):
                self.handle_error()
            else:
                log.exception('%s "%s %s" failed', self.client, self.command, self.path)
                self.send_error(500)

    def handle_request(self):
        """Call do_<METHOD>; without one the answer is 405."""
        method = getattr(self, "do_" + self.command, None)
        if method is None:
            raise HTTPError(405, "no such method here")
        method()

    def refuse(self, error):
        """Answer with *error* a request that was not read, or not handled, to its end; then close."""
        log.debug("%s refused: %s", self.client, error.reason)
        self.state, self.deadline = HANDLING, None
        self.close_connection = self.input_left = True
        self.early = self.ac_in_buffer = b""
        if b"".join(self.pieces).startswith(b"HEAD "):
            self.command = "HEAD"  # also the answer to a malformed one has no content
        self.pieces.clear()
        self.send_error(error.status)
        self.end_response()

    def send_error(self, code, message=None, fields=None):
        """Answer with status *code*, its page and more *fields* (a dict); what was to be sent until now is dropped."""
        media_type, body = self.error_page(code)
        self.unsent.clear()
        self.send_response(code, message)
        self.send_header("Content-Type", media_type)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_length(len(body))
        if code == 405:
            self.send_header("Allow", self.allowed_methods())
        elif code == 503:
            self.send_header("Retry-After", str(self.retry_after))
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.push(body)

    def send_response(self, code, message=None):
        """Start the head of the answer: status line, Server and Date."""
        self.status = code
        reason = self.responses.get(code, ("",))[0] if message is None else message
        self.head = [f"HTTP/1.1 {code} {reason}", f"Server: {self.server_version}", f"Date: {self.date_time_string()}"]
        self.length = None

    def send_header(self, keyword, value):
        """Add a field to the head; raise ValueError for one that would break it apart."""
        line = http1.field_line(keyword, value)
        keyword = keyword.lower()
        if keyword == "content-length":
            self.send_length(int(value))
        elif keyword != "connection":
            self.head.append(line)
        elif value.lower() == "close":
            self.close_connection = True  # end_headers() says so

    def send_length(self, length):
        """Add a Content-Length of so many bytes to the head."""
        self.length = length
        self.head.append(f"Content-Length: {length}")

    def end_headers(self):
        """Decide how the body is framed (RFC 9112 §6) and queue the head; it leaves with the body's first bytes."""
        self.bodiless = self.command == "HEAD" or self.status < 200 or self.status in (204, 304)
        self.chunked = False
        if self.length is None and not self.bodiless:
            if self.request_version >= "HTTP/1.1":
                self.chunked = True
                self.head.append("Transfer-Encoding: chunked")
            else:
                self.close_connection = True
        self.head.extend(self.extra_fields)
        self.head.append("Connection: close\r\n\r\n" if self.close_connection else "Connection: keep-alive\r\n\r\n")
        self.unsent.append("\r\n".join(self.head).encode("latin-1"))

    def date_time_string(self, timestamp=None):
        """Return *timestamp* (seconds, by default now) as in "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7)."""
        return http_date(int(time.time() if timestamp is None else timestamp))

    # The answer goes out.

    @property
    def wfile(self):
        return self

    def write(self, data):
        """As in `wfile.write(data)`: queue bytes of the body."""
        self.push(data)
        return len(data)

    def push(self, data):
        """Queue bytes of the body; they leave together with the head when the method has returned."""
        if not self.bodiless:
            self.unsent.append(chunk(data) if self.chunked else data)

    def push_with_producer(self, producer):
        """Queue a producer, more() of which makes the rest of the body; its first piece travels with the head.

        Not so what sendfile() takes: to read it and join it with the head costs more than a send of its own.
        """
        if not self.bodiless and not goes_by_sendfile(producer):
            try:
                self.push(producer.more())
            except Exception:
                close_producer(producer)
                raise
        self.queue_producer(producer)

    def queue_producer(self, producer):
        """Queue a producer that is asked for its first piece when everything before has left; not one that is empty."""
        if self.bodiless or getattr(producer, "left", None) == 0 or self.state is CLOSED:
            close_producer(producer)
        else:
            self.queue_unsent()
            self.producer_fifo.append(ChunkedProducer(producer) if self.chunked else producer)

    def close_when_done(self):
        self.close_connection = True

    def queue_unsent(self):
        data = b"".join(self.unsent)
        self.unsent.clear()
        if data:
            self.head_sent = True
            self.producer_fifo.append(data)

    def end_response(self):
        """The answer is made. What of it cannot be sent now is sent when the loop says so."""
        if self.state is not HANDLING:
            return  # closed meanwhile
        if self.status is None and not self.unsent and not self.producer_fifo:
            log.error('%s "%s %s" was not answered', self.client, self.command, self.path)
            self.send_error(500)
        if self.chunked:
            self.unsent.append(b"0\r\n\r\n")
        self.queue_unsent()
        if self.close_connection:
            self.uncount()
        self.state = SENDING
        # An answer to GET waits until the turn ends, when all are sent together (ioloop.py). What must not be asked a
        # second time, such as a POST, is answered at once: a neighbour's application may kill this worker. So is one
        # behind which another has come already: handle_read() goes on with that only when this answer has left.
        if self.early or self.command != "GET":
            self.initiate_send()

    def initiate_send(self):
        """Send what is queued until the client, or its share of this turn, is full.

        In place of asynchat's, which sends one piece of at most 64 KiB a turn and forgets producers.
        """
        budget, sent_before = self.turn_budget, self.bytes_sent
        while self.producer_fifo and budget > 0:
            first = self.producer_fifo[0]
            if goes_by_sendfile(first):
                size = min(first.left, budget)
                sent = self.send_file(first, size)
            else:
                # Bytes are taken out before send(), which empties the queue if the client is gone; a producer stays.
                if not hasattr(first, "more"):
                    piece = self.producer_fifo.popleft()
                elif not (piece := first.more()):
                    close_producer(self.producer_fifo.popleft())
                    continue
                size = len(piece)
                sent = self.send(piece)
                if sent < size:
                    self.producer_fifo.appendleft(memoryview(piece)[sent:])
            if self.state is CLOSED:
                self.producer_fifo.clear()
                return
            if self.state is not BODY:  # there it was 100 (Continue), no part of the answer
                self.bytes_sent += sent
            if sent < size:
                break
            budget -= sent
        if not self.producer_fifo:
            if self.state is SENDING:
                self.response_sent()
            else:
                self.queue_emptied()
        elif self.state is not BODY and (self.bytes_sent > sent_before or self.deadline is None):
            self.deadline = time.monotonic() + self.send_timeout

    def queue_emptied(self):
        """The client has taken all there is for now, but the answer is not complete yet: the place to make more."""

    def send_file(self, producer, count):
        """As send(), but the kernel copies the bytes from the producer's file: they never enter this process."""
        try:
            sent = os.sendfile(self.socket.fileno(), producer.file.fileno(), None, count)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.handle_close()
            return 0
        if sent == 0:  # for ever: a loop that waits for more would spin
            raise Aborted("file was truncated while it was being sent")
        producer.left -= sent
        return sent

    def handle_write(self):
        self.initiate_send()
        if self.early and self.readable():
            self.handle_read()

    def response_sent(self):
        """The last byte has left: on to the next request, or close."""
        self.log_request()
        self.state = IDLE  # or close() would take the answer for one that is cut off
        if self.spool:
            self.spool.close()
        closing, version, headers = self.close_connection, self.request_version, self.headers
        self.reset_request()
        if not closing:
            self.await_request(self.server.idle_grace if self.server.draining else self.idle_timeout)
        elif self.input_left or self.early or headers is None or http1.keep_alive(version, headers):
            self.linger()
        else:
            self.close()  # a client that asked for it sends nothing more

    def log_request(self, aborted=False):
        """Take note of an answer that has been sent, or of one that was cut off."""
        self.server.requests += 1
        self.server.bytes += self.bytes_sent
        if log.isEnabledFor(logging.DEBUG):
            log.debug('%s "%s %s" %s', self.client, self.command, self.path, self.status)
        if self.access_log is not None:
            is_request, headers = self.headers is not None, self.headers or {}
            self.access_log.write(
                accesslog.Entry(
                    time=time.time(),
                    client=self.addr[0],
                    request_line=f"{self.command} {self.path} {self.request_version}" if is_request else "",
                    status=self.status,
                    sent=self.bytes_sent,
                    referer=headers.get("referer", ""),
                    user_agent=headers.get("user-agent", ""),
                    duration=time.monotonic() - self.began if is_request else 0.0,
                    worker=os.getpid(),
                    aborted=aborted,
                )
            )

    def linger(self):
        """Close our side but read on for a while: closing with unread input would reset, and undo, our answer."""
        self.early = b""
        self.state, self.deadline = LINGERING, time.monotonic() + self.linger_timeout
        self.set_terminator(None)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()  # the client is gone

    # What asyncore asks, and what can go wrong.

    def readable(self):
        return self.state is not HANDLING and self.state is not SENDING

    def writable(self):
        """Is there an answer to send or to finish, or a request that came early? handle_write() goes on with either."""
        return self.state is SENDING or bool(self.producer_fifo) or (bool(self.early) and self.readable())

    def handle_timeout(self):
        """The deadline of the current state has passed."""
        if self.state is HEAD:
            self.refuse(HTTPError(408, "head took too long"))
        elif self.state is BODY:
            self.deadline = self.body_started + self.body_timeout + self.body_bytes / self.body_rate
            if self.deadline < time.monotonic():
                self.refuse(HTTPError(408, "body took too long"))
        elif self.state is not IDLE or not self.has_input():
            self.close()

    def has_input(self):
        """Tell whether the client has sent something that a busy loop has not come to yet."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def handle_error(self):
        """Called by asyncore in place of a traceback that ends the loop."""
        error = sys.exc_info()[1]
        if isinstance(error, Aborted) or getattr(error, "errno", None) in (errno.EIO, errno.ESTALE):  # a disk's, too
            log.warning('%s "%s %s" cut off: %s', self.client, self.command, self.path, error)
        elif isinstance(error, OSError):
            log.debug("%s left: %s", self.client, error)
        else:
            log.exception('%s "%s %s" failed', self.client, self.command, self.path)
        if self.state is not CLOSED and self.head_sent and self.length is None and not self.chunked:
            # The end of the connection would pass for the end of the answer: reset it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def handle_close(self):
        """The client is gone. asyncore may say so twice: for the end of the input, and for the hang-up."""
        if self.state is not CLOSED:
            log.debug("%s left", self.client)
            self.close()

    def close(self):
        """Give back everything. asyncore's own close() forgets the producers and their files."""
        if self.state is CLOSED:
            return
        if self.state is SENDING or (self.state is HANDLING and self.head_sent):
            self.log_request(aborted=True)
        self.uncount()
        self.state, self.deadline = CLOSED, None
        self.early = self.ac_in_buffer = b""
        self.pieces.clear()
        for piece in self.producer_fifo:
            close_producer(piece)
        self.producer_fifo.clear()
        if self.spool:
            self.spool.close()
        asynchat.async_chat.close(self)

    def uncount(self):
        """Tell the siblings that this connection will bring no more work."""
        if self.counted:
            self.counted = False
            self.server.row[scoreboard.CONNECTIONS] -= 1

    def log_info(self, message, type="info"):
        log.debug("%s: %s", type, message)

    # What methods and applications may ask.

    @property
    def rfile(self):
        """The whole body of the request, an open binary file."""
        return self.spool or io.BytesIO()

    @property
    def client(self):
        """The client's address for the log."""
        return "{}:{}".format(*self.addr) if isinstance(self.addr, tuple) else str(self.addr)

    # Files.

    def do_GET(self):
        producer = self.send_head()
        if producer:
            self.push_with_producer(producer)

    def do_HEAD(self):
        self.do_GET()  # nothing but the head is queued

    def do_OPTIONS(self):
        self.send_response(200)
        self.send_header("Allow", self.allowed_methods())
        self.send_length(0)
        self.end_headers()

    def send_head(self):
        """Send the head of the answer for a file or folder, with its body if that is short.

        Return the producer of a long body, else None.
        """
        path = self.translate_path(self.path)
        if path.endswith("/"):
            if self.listing and not os.path.exists(path + "index.html"):
                return self.send_listing(path)
            path += "index.html"
        fd, facts = self.open_path(path, or_folder=True)
        if stat.S_ISDIR(facts.st_mode):
            os.close(fd)
            return self.redirect_to_folder(path)
        accepted = self.headers.exact("accept-encoding")
        for coding in preferred_codings(accepted, tuple(self.coding_suffixes)) if accepted else ():
            if not os.access(path + self.coding_suffixes[coding], os.F_OK):
                continue  # nearly always, and much cheaper to be told so than by an exception
            try:
                sibling, sibling_facts = self.open_path(path + self.coding_suffixes[coding])
            except (HTTPError, OSError):
                continue
            os.close(fd)
            return self.send_file_head(sibling, sibling_facts, path, coding)
        return self.send_file_head(fd, facts, path)

    def send_file_head(self, fd, facts, path, coding=""):
        """Send the head for the open file *fd*, as its conditional fields and Range ask, then as send_body() does."""
        now = time.time()
        etag = conditional.entity_tag(facts.st_size, facts.st_mtime_ns, coding)
        status, start, stop = conditional.select_part(
            self.command, self.headers, etag, facts.st_mtime, facts.st_size, now
        )
        if status >= 400:
            os.close(fd)
            unsatisfied = {"Content-Range": conditional.unsatisfied_range(facts.st_size)} if status == 416 else {}
            raise HTTPError(status, "precondition or range", unsatisfied)
        self.send_response(status)
        self.head.append(file_fields(etag, last_modified(facts.st_mtime, int(now)), self.cache))
        if status != 304:
            self.head.append(type_fields("." + path.rpartition(".")[2], coding))
            self.send_length(stop - start)
        if status == 206:
            self.send_header("Content-Range", conditional.content_range(start, stop, facts.st_size))
        self.end_headers()
        return self.send_body(fd, start, stop)

    def send_body(self, fd, start, stop):
        """Send these bytes of the open file *fd* and close it; return a producer that does so if they are many."""
        count = stop - start
        if self.bodiless:
            os.close(fd)
            return None
        if count > self.chunk_size:
            file = open(fd, "rb", buffering=0)
            if start:
                file.seek(start)
            return SendfileProducer(file, self.chunk_size, count)
        try:
            # With its head, without the cost of a producer and a file object: most files are short.
            body = os.pread(fd, count, start)
        finally:
            os.close(fd)
        if len(body) < count:
            raise Aborted("file was truncated while it was being sent")
        self.push(body)
        return None

    def translate_path(self, path):
        """Return the file system path that the target *path* means; a folder ends in "/". Raise HTTPError 404.

        Decoded once, then normalised: the other way round `%2e%2e` slips through.
        """
        path = path.partition("?")[0]
        if "%" in path:
            if "%00" in path or "%2f" in path.lower():
                raise HTTPError(404, "no file name contains NUL or a slash")
            import urllib.parse

            path = os.fsdecode(urllib.parse.unquote_to_bytes(path))
        path = url_normalize(path)
        if "/." in "/" + path.removeprefix("/.well-known/"):
            raise HTTPError(404, "hidden file")
        return self.root + path

    def open_path(self, path, or_folder=False):
        """Open the regular file, *or_folder*, at *path*; return its descriptor and os.fstat() of it.

        Raise HTTPError: 404 for anything else, such as a FIFO, and whatever is outside the root, which looks
        exactly like a missing file; 403 for what must not be read; 503 without descriptors. First open, then
        ask what it is: the name may mean something else a moment later.
        """
        try:
            # Non-blocking: never wait for the other end of a FIFO.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            inside = self.is_inside(os.path.realpath(path))
            raise HTTPError(403 if inside else 404, "no permission") from error
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise HTTPError(503, "out of descriptors") from error
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
                raise HTTPError(404, "no such file") from error
            raise
        facts = os.fstat(fd)
        is_wanted = stat.S_ISREG(facts.st_mode) or (or_folder and stat.S_ISDIR(facts.st_mode))
        if is_wanted and self.is_inside(opened_path(fd, path)):
            return fd, facts
        os.close(fd)
        raise HTTPError(404, "no regular file in the root")

    def is_inside(self, real_path):
        """Tell whether what really is at *real_path*, all links followed, may be served."""
        return self.follow_symlinks or (real_path + "/").startswith(real_prefix(self.root))

    def redirect_to_folder(self, path):
        """Send the client of a folder without its slash to the one with it, on this host whatever the target says."""
        target, mark, query = self.path.partition("?")
        if target.endswith("/") or not (self.listing or os.path.isfile(path + "/index.html")):
            raise HTTPError(404, "folder without index.html")
        self.send_response(301)
        self.send_header("Location", "/" + target.lstrip("/") + "/" + mark + query)
        self.send_header("Cache-Control", "no-store")  # without it browsers keep a 301 for ever
        self.send_length(0)
        self.end_headers()

    def send_listing(self, path):
        """Answer with the entries of the folder at *path*, as a page or, if the client prefers it, as JSON."""
        import urllib.parse

        from asynchttpd import listing

        fd, _ = self.open_path(path, or_folder=True)
        try:
            entries, is_cut = listing.read_folder(fd, lambda entry: self.is_served(path, entry))
        finally:
            os.close(fd)
        self.send_response(200)
        accepted = self.headers.get("accept", "")
        if "application/json" in accepted and "text/html" not in accepted:
            body = listing.as_json(entries, is_cut)
            self.send_header("Content-Type", "application/json")
        else:
            decoded = os.fsdecode(urllib.parse.unquote_to_bytes(self.path.partition("?")[0]))
            body = listing.as_html(url_normalize(decoded), entries, is_cut)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")  # there is no validator to ask again with
        self.send_header("Vary", "Accept")
        self.send_length(len(body))
        self.end_headers()
        self.push(body)

    def is_served(self, folder, entry):
        """Tell whether a listing of *folder* may name *entry* (an os.DirEntry): nothing hidden, no link out."""
        if entry.name.startswith(".") or not (entry.is_file() or entry.is_dir()):
            return False
        return not entry.is_symlink() or self.is_inside(os.path.realpath(folder + entry.name))

    def error_page(self, code):
        """Return (media type, body) for an error: the root's own 404.html, else a line of text."""
        if code == 404:
            try:
                fd, _ = self.open_path(self.root + "/404.html")
                with open(fd, "rb", buffering=0) as file:
                    return "text/html", file.read(self.error_page_limit)
            except (HTTPError, OSError):
                pass  # the usual case
        short, long = self.responses[code]
        return "text/plain", f"{code} {short}: {long}\n".encode()


@functools.lru_cache(maxsize=1024)
def file_fields(etag, modified, cache):
    """Return the fields that a file's 200 and its 304 share (RFC 9110 §15.4.5), from their validators."""
    fields = [f"ETag: {etag}", f"Cache-Control: {cache}", "Vary: Accept-Encoding"]
    if modified:
        fields.append(f"Last-Modified: {modified}")
    return "\r\n".join(fields)


@functools.lru_cache(maxsize=1024)
def type_fields(suffix, coding):
    """Return the fields that tell what a file is, from the suffix of its name and its content coding."""
    suffix = suffix.lower()
    media_type = CONTENT_TYPES.get(suffix)
    if media_type is None:
        import mimetypes

        # Python's built-in table, never the system's: answers must not depend on the host.
        media_type = mimetypes.types_map.get(suffix, "application/octet-stream")
    fields = [f"Content-Type: {media_type}", "X-Content-Type-Options: nosniff", "Accept-Ranges: bytes"]
    if coding:
        fields.append(f"Content-Encoding: {coding}")
    return "\r\n".join(fields)


@functools.cache
def real_prefix(root):
    """Return what the real path of everything inside the folder *root* starts with."""
    return os.path.join(os.path.realpath(root), "")


def opened_path(fd, path):
    """Return where *fd*, opened as *path*, really is, all symbolic links followed."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # Linux: one call, and nobody can swap a link behind our back
    except OSError:
        return os.path.realpath(path)


class AsyncServer(asyncore.dispatcher):
    """The listening socket: makes a channel for every connection.

    host, port -- where to listen; port 0 lets the system choose
    handler -- class of the channels, AsyncHTTPRequestHandler or one of its children
    map -- an EventMap (ioloop.py); by default asyncore's own

    Raise OSError when the address cannot be had.
    """

    backlog = 1024  # connections the kernel keeps waiting; 5, as in many examples, overflows under load
    accept_batch = 16  # connections taken at a time: they have waited longest, but those already here wait for it ...
    accept_time = 0.25  # ... and seconds until it ends: the first request of each is handled at once, and may be slow
    pause = 1.0  # seconds without accepting when the process is out of descriptors
    descriptor_share = 0.75  # of the process's descriptors for connections; the rest for files
    eviction = 16  # idle connections closed at a time when there is no room for a new one
    idle_grace = 0.5  # seconds that idle connections stay when draining: a request may be on its way

    yields = 3  # times that a worker with more connections than another lets that one accept
    nap = 0.0003  # seconds that it sleeps when the other has none at all; in a longer one a third worker takes too many

    siblings = ()  # rows of all workers on the scoreboard
    max_requests = 0  # answers after which the process asks to be replaced; 0: never
    max_rss = 0  # bytes of memory, likewise
    deadline = None  # when to accept again (see ioloop)

    def __init__(self, host="127.0.0.1", port=9000, handler=AsyncHTTPRequestHandler, map=None):
        super().__init__(map=map)
        self.handler = handler
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=self.backlog)
        sock.setblocking(False)
        # Inherited by every accepted socket. With Nagle's algorithm a small answer could wait 40 ms for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.set_socket(sock, map)
        self.accepting = True
        self.row = [0] * scoreboard.CELLS  # ours on the scoreboard, or nobody's
        self.requests = self.bytes = 0  # answered and sent
        self.draining = False
        self.yielded = 0
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.max_connections = int(descriptors * self.descriptor_share)

    def readable(self):
        return self.deadline is None

    def writable(self):
        return False

    def handle_accept(self):
        now = time.monotonic()
        batch_ends, answers_due = now + self.accept_time, now + HELD
        for _ in range(self.accept_batch):
            now = time.monotonic()
            if now > batch_ends or self.yields_to_sibling():
                return
            # Those let in so far shall not wait with their answers for the rest of the batch.
            if now > answers_due:
                self._map.update_touched()
                answers_due = time.monotonic() + HELD
            try:
                pair = self.accept()
            except OSError as error:
                self.handle_accept_error(error)
                return
            if pair is None:  # nobody waits, or the client left the queue
                return
            self.handle_accepted(*pair)

    def yields_to_sibling(self):
        """Tell whether to leave a new connection to a worker that has fewer; not for ever, for it may be stuck."""
        mine = self.row[scoreboard.CONNECTIONS]
        for row in self.siblings:
            theirs = row[scoreboard.CONNECTIONS]
            # A quarter more is no matter: exactly even, a thousand newcomers would be let in one by one.
            if theirs + theirs // 4 < mine and row[scoreboard.STATE] == scoreboard.SERVING:
                if self.yielded == self.yields:
                    break
                self.yielded += 1
                if theirs:
                    os.sched_yield()
                else:
                    # The one sleep in the loop: three naps at most. It is idle, and comes if it gets a processor.
                    time.sleep(self.nap)
                return True
        self.yielded = 0
        return False

    def handle_accepted(self, sock, addr):
        has_room = len(self._map) < self.max_connections or self.make_room()
        channel = self.handler(sock, self, addr, self._map)
        if has_room:
            # Most clients have sent their request by now: this saves a turn of the loop.
            asyncore.read(channel)
        else:
            channel.refuse(HTTPError(503, "too many connections"))

    def make_room(self):
        """Close the connections that have been idle longest; tell whether there were any."""
        idle = [channel for channel in self._map.values() if is_idle(channel)]
        oldest = heapq.nsmallest(self.eviction, idle, key=lambda channel: channel.deadline)
        silent = [channel for channel in oldest if not channel.has_input()]
        for channel in silent:
            channel.close()
        return bool(silent)

    def handle_accept_error(self, error):
        """Out of descriptors or memory: pause. asyncore would close the listener for good."""
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.make_room()
            log.warning("cannot accept: %s; trying again in %g s", error.strerror, self.pause)
            self.deadline = time.monotonic() + self.pause
        else:
            log.debug("cannot accept: %s", error)

    def handle_timeout(self):
        self.deadline = None

    def handle_error(self):
        log.exception("cannot accept a connection")

    def serve_forever(self):
        """Run the loop until the server and all its channels are closed."""
        loop(self._map)

    def report(self):
        """Once a second: put on the scoreboard what we do and that the loop turns; ask for a successor if due."""
        row = self.row
        row[scoreboard.TURNED] = int(time.monotonic() * 1000)
        row[scoreboard.REQUESTS], row[scoreboard.BYTES] = self.requests, self.bytes
        worn = 0 < self.max_requests <= self.requests or 0 < self.max_rss <= resident_memory()
        if worn and row[scoreboard.STATE] == scoreboard.SERVING:
            log.info("asking to be replaced after %d requests", self.requests)
            self.max_requests = self.max_rss = 0
            row[scoreboard.STATE] = scoreboard.WORN

    def drain(self):
        """Stop accepting, finish what has begun, then serve_forever() returns."""
        if self.draining:
            return
        self.siblings, self.accept_time = (), math.inf
        for _ in range(self.backlog // self.accept_batch):
            self.handle_accept()  # those in the queue would be reset with it
        self.draining = True
        self.close()
        leave_at = time.monotonic() + self.idle_grace
        for channel in self._map.values():
            if is_idle(channel):
                channel.deadline = leave_at
            elif isinstance(channel, AsyncHTTPRequestHandler) and not channel.head_sent:
                channel.close_connection = True  # its answer can still say so
        self._map.sweep_at = leave_at


def is_idle(channel):
    """Tell whether *channel* is one of ours, without a request that has come or is coming."""
    return getattr(channel, "state", None) is IDLE and not channel.early


AsyncHTTPServer = AsyncServer  # the handout's other name


def resident_memory():
    """Return the bytes of memory that this process occupies (Linux; elsewhere the most it ever did)."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def parse_args(arguments=None):
    return command_line.argument_parser("Serve the files of a folder over HTTP.").parse_args(arguments)


def run(args=None, server_class=AsyncServer, handler=AsyncHTTPRequestHandler, boot=None):
    """Serve until told to stop, then exit with status 0; with 1 if the server cannot start.

    boot -- function(server) that each worker calls before it serves
    """
    command_line.serve(args or parse_args(), server_class, handler, boot)


if __name__ == "__main__":
    run()

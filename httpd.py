"""An asynchronous HTTP/1.1 file server on asyncore and asynchat: `python httpd.py -r www -w 4`.

This is the HTTP story from top to bottom. A listening socket (AsyncServer) makes one channel for each connection.
The channel collects a request (HTTPChannel), calls a do_* method to answer it (AsyncHTTPRequestHandler), and sends the
answer as fast as the client takes it. Nothing here waits for a client: code that cannot go on at once returns to the
loop, and the loop calls it again when the socket is ready.

It stands on the parts in asynchttpd/. Each file there has one subject, and you can read it alone. On a request's way:
listener.py     the listening socket: accepting, making room, draining
channel.py      one connection: bytes, turns, deadlines, and its end; tls.py encrypts it
head.py         a request's head while it comes in; body.py: its body
http1.py        which bytes are a request, and where it ends (RFC 9112)
files.py        from a path to an open file inside the root, and what it is; media.py has the types
conditional.py  does the client have this already, and which part does it want (RFC 9110 §13, §14)
listing.py      a folder as a page; errorpage.py: an error as one
producers.py    what makes a body piece by piece
accesslog.py    one line for each answer
ioloop.py is the loop under all channels. README.md lists the others: processes, logs, options.

Modules that only some servers need, such as listing.py, are imported where they are used. At the top they would take a
third of the time to start, and of each worker's memory.

Not here: HTTP/2, compression on the fly, CGI. docs/rfc.md lists what HTTP asks for, and the code that does it.
"""

import http
import io
import logging
import math
import os
import stat
import sys
import time

from asynchttpd import accesslog, command_line, conditional, errorpage, files, http1, logs, producers, running, values
from asynchttpd.channel import BODY, CLOSED, HANDLING, HEAD, IDLE, LINGERING, SENDING, Channel
from asynchttpd.files import url_normalize
from asynchttpd.head import Head
from asynchttpd.http1 import HTTPError
from asynchttpd.ioloop import asyncore, loop
from asynchttpd.listener import Listener
from asynchttpd.producers import Aborted, FileProducer, chunk, close_producer, first_piece, goes_by_sendfile, release

log = logging.getLogger("httpd")

# The handout's names, also those that are defined in a part.
__all__ = ["AsyncHTTPRequestHandler", "AsyncHTTPServer", "AsyncServer", "FileProducer", "url_normalize"]


class AsyncServer(Listener):
    """The listening socket: makes a channel for each connection.

    host, port -- where to listen; port 0 lets the system choose
    handler -- class of the channels; by default AsyncHTTPRequestHandler, below
    map -- an EventMap (ioloop.py); by default asyncore's own
    sockets -- sockets that listen already, in place of host and port (asynchttpd/sockets.py)

    Raise OSError if it cannot listen there.
    """

    def __init__(self, host="127.0.0.1", port=9000, handler=None, map=None, sockets=()):
        super().__init__(host, port, map, sockets)
        self.handler = handler or AsyncHTTPRequestHandler

    def handle_accepted(self, sock, addr):
        channel = self.handler(sock, self, addr, self._map)
        if not self.draining:  # when draining, all in the queue are accepted before the first is served
            asyncore.read(channel)  # most clients have sent their request by now: this saves a turn of the loop

    def turn_away(self, sock, addr):
        """Answer 503: there is no room for this client, and none can be made. Return its channel."""
        channel = self.handler(sock, self, addr, self._map)
        channel.refuse(HTTPError(503, "too many connections"))
        return channel

    def serve_forever(self):
        """Run the loop until the server and all its channels are closed."""
        loop(self._map)


AsyncHTTPServer = AsyncServer  # the handout's other name


class HTTPChannel(Channel):
    """One connection that speaks HTTP: requests come in one after the other, and answers go out in the same order.

    Its parent Channel moves the bytes, and shows the states in a picture. This class knows what the bytes mean: where a
    request begins and ends, what is wrong with it, and whether another may follow. The states are
      IDLE -> HEAD -> BODY -> HANDLING -> SENDING -> IDLE, or at the end LINGERING (input is dropped) and CLOSED.
    Of Channel it uses state, began and deadline (on the clock of time.monotonic()), bytes_sent, had_answer,
    early (input of later requests), input_left (the client has probably sent more than we have read), and calls:
      wait_for_request(timeout) -- the state is IDLE, and a deadline runs
      hold_input() -- keep in `early` what has come behind the request, until it is answered
      initiate_send() -- send what is in `producer_fifo`, as much as the client takes now; the loop sends the rest
      linger(), close() -- end the connection: read on for a moment so that the answer is not lost, or at once

    A child makes the answers. It defines, and this class calls:
      handle_request() -- the request is complete: make its answer; end_response() is called next
      handles(method), wants_body(method) -- are such requests answered, is their body kept? Asked before it comes in
      send_error(code, fields=...) -- make an answer that says what went wrong
    Channel calls queue_emptied(), late(), drain() and closed(). To override: respond(), the class attributes below.
    """

    __slots__ = (  # noqa: RUF023
        "request_head", "command", "path", "request_version", "headers", "body", "close_connection",
        "status", "head", "length", "bodiless", "chunked", "unsent", "head_sent", "head_size",
    )  # fmt: skip

    access_log = None  # an accesslog.AccessLog that gets an entry for each answer
    max_body = 1024**3  # bytes of a request body; above it 413; 0: any number
    spool_limit = 512 * 1024  # bytes of a body kept in memory; above it a temporary file

    header_timeout = 10.0  # seconds for a whole head, from its first byte (or from connecting)
    body_timeout = 60.0  # seconds for a body, and at most between two of its pieces
    body_rate = 500  # bytes that bring a body one more second

    ac_in_buffer_size = 16384  # bytes a recv; with more, one client's pipelined requests would delay the others
    body_buffer_size = 262144  # bytes a recv while a body comes in; they are only copied, so this delays nobody

    def __init__(self, sock, server=None, address=None, map=None):
        Channel.__init__(self, sock, server, address, map)
        self.request_head = Head()
        self.reset_request()
        self.set_terminator(b"\r\n\r\n")
        self.wait_for_request(self.header_timeout)

    def reset_request(self):
        """Forget everything about one request: on a kept connection the next may be somebody else's."""
        self.command = self.path = self.request_version = ""
        self.headers = self.body = None  # no headers: no request has been understood
        self.close_connection = False  # after this answer
        self.status = self.length = None  # of the answer, once it has them
        self.unsent = []  # pieces of the answer to be sent together
        self.head_sent = self.bodiless = self.chunked = False
        self.close_delimited = True  # until a head says otherwise
        self.bytes_sent = self.head_size = 0

    # A request comes in.

    def handle_read(self):
        try:
            Channel.handle_read(self)  # recv, collect_incoming_data, found_terminator
            if self.request_head.pieces:
                self.await_rest_of_head()
        except HTTPError as error:
            self.refuse(error)

    def await_rest_of_head(self):
        """Part of a head has come: refuse it if it is bad already, else wait for the rest until the deadline."""
        self.request_head.check_last()
        if self.state is IDLE:
            self.state, self.began = HEAD, time.monotonic()
            self.deadline = self.began + self.header_timeout

    def collect_incoming_data(self, data):
        if self.state is BODY:
            self.collect_body(data)
        elif self.state is not LINGERING:
            self.request_head.add(data)

    def found_terminator(self):
        self.parse_request()

    def parse_request(self):
        """A head, or the body behind it, is complete: wait for the body, or handle the request."""
        if self.state is BODY:
            self.complete_request()
        elif not self.request_head.pieces:
            self.request_head.skip_blank(self.terminator)  # which came alone: two empty lines
        else:
            self.parse_headers()
            length, keep_alive, wants_continue = http1.decide(self.request_version, self.headers)
            self.close_connection = self.server.draining or not keep_alive
            if length == 0:
                self.complete_request()
            else:
                self.expect_body(length, wants_continue)

    def parse_headers(self):
        """Take the head apart: method, target, protocol, fields. Raise HTTPError."""
        head = b"".join(self.request_head.pieces)
        self.command, self.path, self.request_version, self.headers = http1.parse_head(head)
        self.request_head.clear()
        self.began = time.monotonic()

    def expect_body(self, length, wants_continue):
        """Wait for a body (*length* in bytes; None: it is chunked). Refuse an unwanted one before it has come."""
        limit = self.max_body or math.inf
        if length is not None and length > limit:
            raise HTTPError(413, f"body of more than {limit} bytes")
        if not self.handles(self.command):
            raise HTTPError(405, "no such method here")
        from asynchttpd.body import Body

        self.body = Body(length, limit, self.spool_limit, self.server.reserve_spool, self.wants_body(self.command))
        self.state, self.deadline = BODY, time.monotonic() + self.body_timeout
        self.ac_in_buffer_size = self.body_buffer_size
        self.set_terminator(length)  # found_terminator() after so many bytes; None: never, the chunks tell their end
        if wants_continue and not self.ac_in_buffer:
            self.producer_fifo.append(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.initiate_send()

    def collect_body(self, data):
        """A piece of the body has come: it buys time, so that the whole may take long, but not a byte a minute."""
        now = time.monotonic()
        self.deadline = min(self.deadline + len(data) / self.body_rate, now + self.body_timeout)
        self.body.add(data)
        decoder = self.body.decoder  # only of a chunked body
        if decoder and decoder.done:
            self.ac_in_buffer = decoder.rest  # what came behind the body
            self.complete_request()
        elif decoder:
            self.early = decoder.rest  # of very small chunks: the rest waits for another turn

    def complete_request(self):
        """The request is complete: set aside (in `early`) what came behind it, and respond."""
        self.hold_input()
        self.respond()

    # The request is handled.

    def respond(self):
        """Make the answer and send it.

        A child that answers later overrides this, and calls end_response() then. Until then nothing is read.
        """
        self.state, self.deadline = HANDLING, None
        if self.body:
            self.body.rewind()
            del self.ac_in_buffer_size  # back to the class's size
            self.set_terminator(b"\r\n\r\n")
        self.attempt(self.handle_request)
        self.end_response()

    def attempt(self, function, *arguments):
        """Call *function*. If it raises, answer with an error, or cut off the answer that is under way."""
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
                log.exception("%s failed", self.subject)
                self.send_error(500)

    def refuse(self, error):
        """Answer a request that has not been read to its end with *error*; then close."""
        log.debug("%s refused: %s", self.client, error.reason)
        self.state, self.deadline = HANDLING, None
        self.close_connection = self.input_left = True
        self.early = self.ac_in_buffer = b""
        if b"".join(self.request_head.pieces).startswith(b"HEAD "):
            self.command = "HEAD"  # the answer to a malformed HEAD has no content, either
        self.request_head.clear()
        self.send_error(error.status, fields=error.fields)
        self.end_response()

    # The answer goes out.

    def queue_unsent(self):
        """Join the pieces made so far, and queue them to be sent together."""
        data = b"".join(self.unsent)
        self.unsent.clear()
        if data:
            self.head_sent = True
            self.producer_fifo.append(data)

    def end_response(self):
        """The answer is made: from now on it is sent."""
        if self.state is not HANDLING:
            return  # closed meanwhile
        if self.status is None and not self.unsent and not self.producer_fifo:
            log.error("%s was not answered", self.subject)
            self.send_error(500)
        if self.chunked:
            self.unsent.append(b"0\r\n\r\n")
        self.queue_unsent()
        if self.close_connection:
            self.stop_counting()  # the workers share connections by these counts; this one brings no other request
        self.state = SENDING
        # An answer to GET waits for the end of the turn, when all answers leave together (ioloop.py). Others leave at
        # once: a client must not have to repeat a POST because another client's request has killed this worker. So do
        # those behind whose request another has come in: that one is taken up when this answer has left.
        if self.early or self.command != "GET":
            self.initiate_send()

    def queue_emptied(self):
        """Everything in the queue has left: a whole answer, or the part of it that has been made."""
        if self.state is SENDING:
            self.response_sent()

    def response_sent(self):
        """The last byte has left: wait for the next request, or close."""
        self.log_request()
        self.state = IDLE  # else close() would log the answer as cut off
        if self.body:
            self.body.close()
        self.had_answer = True
        closing, version, headers = self.close_connection, self.request_version, self.headers
        self.reset_request()
        if not closing:
            self.wait_for_request(self.server.idle_grace if self.server.draining else self.idle_timeout)
        elif self.input_left or self.early or headers is None or http1.keep_alive(version, headers):
            self.linger()  # there is input that we have not read, or may be
        else:
            self.close()  # a client that has asked for this sends nothing more

    def log_request(self, aborted=False):
        """Count and log an answer that has been sent or cut off."""
        self.server.answers[(self.status or 0) // 100] += 1  # no status: the handler has sent bytes of its own
        self.server.bytes += self.bytes_sent
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s", self.subject, self.status)
        if self.access_log is not None:
            self.access_log.write(accesslog.entry_of(self, aborted))

    def client_address(self):
        """Return the address for the access log; that of an IPv4 client at an IPv6 socket is shown as IPv4."""
        return self.addr[0].removeprefix("::ffff:")

    # What can go wrong, and what can be asked.

    def late(self):
        """The deadline for a head or a body has passed."""
        self.refuse(HTTPError(408, f"{'head' if self.state is HEAD else 'body'} took too long"))

    def drain(self, leave_at):
        """The server stops, at *leave_at* for idle connections: the answer under way is this connection's last."""
        if self.is_idle() and not self.had_answer:
            leave_at = max(leave_at, self.deadline - self.header_timeout + self.server.first_grace)  # from connecting
        Channel.drain(self, leave_at)
        if not self.is_idle() and not self.head_sent:
            self.close_connection = True  # its answer can still say so

    def closed(self, state):
        self.request_head.clear()
        if self.body:
            release(self.body.close)  # logs what goes wrong: closing must go on
        if state is SENDING or (state is HANDLING and self.head_sent):
            self.log_request(aborted=True)

    @property
    def subject(self):
        """The request under way, as the log names it."""
        return f'{self.client} "{self.command} {self.path}"'

    @property
    def rfile(self):
        """The whole body of the request, an open binary file."""
        return self.body.file if self.body else io.BytesIO()


class BaseHTTPRequestHandler(HTTPChannel):
    """The methods that make an answer, as in http.server's class of this name. A child adds the do_* methods.

    A do_* method finds `command`, `path`, `headers` and `rfile` (the whole body). It answers with send_response,
    send_header, end_headers, then `wfile.write(bytes)`, push(bytes) or push_with_producer(producer). If it sends no
    Content-Length, the body is chunked or, for HTTP/1.0, ends with the connection.
    """

    __slots__ = ()

    extra_fields = ()  # lines such as "Access-Control-Allow-Origin: *" for every answer
    server_version = "asynchttpd"
    retry_after = 5  # seconds, in the Retry-After of a 503
    worth_a_warning = {413, 503, 507}  # statuses that show a limit of ours: logged, at most once a second each

    responses = {status.value: (status.phrase, status.description) for status in http.HTTPStatus}

    def handle_request(self):
        """Call do_<METHOD>; without one the answer is 405."""
        method = getattr(self, "do_" + self.command, None)
        if method is None:
            raise HTTPError(405, "no such method here")
        method()

    def handles(self, method):
        """Tell whether there is a do_<METHOD> for this method; called before a body is read."""
        return hasattr(self, "do_" + method)

    def wants_body(self, method):
        """Tell whether the body of such a request is kept; if not, it is received and dropped."""
        return True

    def allowed_methods(self):
        return ", ".join(name.removeprefix("do_") for name in dir(self) if name.startswith("do_"))

    def send_error(self, code, message=None, fields=None):
        """Answer with status *code*, a page that explains it, and more *fields* (a dict); drop what was made so far."""
        if code in self.worth_a_warning:
            logs.warn_seldom(f"answering {code} {self.responses[code][0]}")
        page_fields, page = self.error_page(code)
        fields = {"X-Content-Type-Options": "nosniff"} | page_fields | (fields or {})
        if code == 405:
            fields["Allow"] = self.allowed_methods()
        elif code == 503:
            fields["Retry-After"] = str(self.retry_after)
        self.unsent.clear()
        self.send_content(code, fields, page, message)

    def send_content(self, code, fields, content=b"", message=None):
        """Answer with status *code*, *fields* (a dict) and *content*, the whole body."""
        self.send_response(code, message)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_length(len(content))
        self.end_headers()
        self.push(content)

    def send_response(self, code, message=None):
        """Start the head of the answer: status line, Server and Date."""
        self.status = code
        reason = self.responses.get(code, ("",))[0] if message is None else message
        self.head = [f"HTTP/1.1 {code} {reason}", f"Server: {self.server_version}", f"Date: {self.date_time_string()}"]
        self.length = None

    def send_header(self, keyword, value):
        """Add a field to the head; raise ValueError if it would break the head apart."""
        line = http1.field_line(keyword, value)
        keyword = keyword.lower()
        if keyword == "content-length":
            self.send_length(int(value))
        elif keyword != "connection":
            self.head.append(line)
        elif value.lower() == "close":
            self.close_connection = True  # end_headers() says so

    def send_length(self, length):
        """Add Content-Length to the head; *length* in bytes."""
        self.length = length
        if self.status != 204:  # which must not have it (RFC 9110 §8.6)
            self.head.append(f"Content-Length: {length}")

    def end_headers(self):
        """Decide how the body is framed (RFC 9112 §6) and queue the head; it leaves with the body's first bytes."""
        self.bodiless = self.command == "HEAD" or self.status < 200 or self.status in (204, 304)
        self.chunked = self.close_delimited = False
        if self.length is None and not self.bodiless:
            if self.request_version >= "HTTP/1.1":
                self.chunked = True
                self.head.append("Transfer-Encoding: chunked")
            else:
                self.close_connection = self.close_delimited = True
        self.head.extend(self.extra_fields)
        self.head.append("Connection: close\r\n\r\n" if self.close_connection else "Connection: keep-alive\r\n\r\n")
        head = "\r\n".join(self.head).encode("latin-1")
        self.head_size = len(head)
        self.unsent.append(head)

    def date_time_string(self, timestamp=None):
        """Return *timestamp* (seconds, by default now) as in "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7)."""
        return conditional.http_date(int(time.time() if timestamp is None else timestamp))

    @property
    def wfile(self):
        return self

    def write(self, data):
        """Queue bytes of the body, as in `wfile.write(data)`; return how many."""
        self.push(data)
        return len(data)

    def push(self, data):
        """Queue bytes of the body; they leave with the head when the do_* method has returned."""
        if not self.bodiless:
            self.unsent.append(chunk(data) if self.chunked else data)

    def push_with_producer(self, producer):
        """Queue a producer, whose more() makes the rest of the body. Its first piece travels with the head.

        A file that goes by sendfile() has no such piece: reading and joining it would cost more than a separate send.
        """
        if not self.bodiless and not goes_by_sendfile(producer):
            self.push(first_piece(producer))
        self.queue_producer(producer)

    def queue_producer(self, producer):
        """Queue a producer, asked for its first piece when all before it has left; close one that is not needed."""
        if self.bodiless or getattr(producer, "left", None) == 0 or self.state is CLOSED:
            close_producer(producer)
        else:
            self.queue_unsent()
            self.producer_fifo.append(producers.ChunkedProducer(producer) if self.chunked else producer)

    def close_when_done(self):
        self.close_connection = True

    def do_OPTIONS(self):
        self.send_content(200, {"Allow": self.allowed_methods()})

    def error_page(self, code):
        """Return (fields, page) for an error, in the form that the client accepts."""
        accepted = self.headers and self.headers.exact("accept")
        return errorpage.answer(code, *self.responses.get(code, ("Error", "")), accepted or "")


class AsyncHTTPRequestHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with the files of a folder.

    AsyncServer makes one for each connection. AsyncHTTPRequestHandler(sock) alone works, too, in any map of asyncore.
    To override: do_<METHOD>, send_head, translate_path, push_with_producer, and the class attributes; handle_request
    together with handles.
    """

    __slots__ = ()

    root = "."  # folder that is served
    listing = False  # answer with a list of entries for a folder without index.html?
    hidden = False  # serve names that begin with a dot?
    follow_symlinks = False  # serve symbolic links that lead out of the root?
    cache = "no-cache"  # Cache-Control of files: clients may keep them, but ask each time
    content_types = ()  # pairs such as (".foo", "text/foo"), besides or in place of the types of media.py
    coding_suffixes = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}  # of precompressed siblings
    chunk_size = 16384  # bytes of a file that is sent with its head, or read at a time where there is no sendfile()
    error_page_limit = 1024 * 1024  # bytes read of 404.html

    def do_GET(self):
        producer = self.send_head()
        if producer:
            self.push_with_producer(producer)

    def do_HEAD(self):
        self.do_GET()  # nothing but the head is queued

    def wants_body(self, method):
        """Tell whether the body of such a request is kept; our own methods do not read it."""
        return getattr(type(self), "do_" + method, None) not in (
            AsyncHTTPRequestHandler.do_GET, AsyncHTTPRequestHandler.do_HEAD, AsyncHTTPRequestHandler.do_OPTIONS,
        )  # fmt: skip

    def send_head(self):
        """Send the head of the answer for a file or folder, together with a short body.

        Return a producer for a long body, else None.
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
        coding, accepted = "", self.headers.exact("accept-encoding")
        if accepted and (sibling := files.open_sibling(path, accepted, self.coding_suffixes, self.open_path)):
            os.close(fd)
            coding, fd, facts = sibling
        return self.send_file_head(fd, facts, path, coding)

    def send_file_head(self, fd, facts, path, coding):
        """Answer with the open file *fd*, as the request's conditional fields and Range ask; return as send_head()."""
        type_fields = files.type_fields(path.rpartition("/")[2], coding, self.content_types)
        if not facts.st_blocks and not files.is_sized(fd, facts.st_size):  # such as those of /proc
            return self.send_unsized(fd, type_fields)
        now = time.time()
        etag, mtime = files.validators(facts, coding, now)
        status, parts = conditional.select_parts(self.command, self.headers, etag, mtime, facts.st_size, now)
        if status >= 400:
            os.close(fd)
            unsatisfied = {"Content-Range": conditional.unsatisfied_range(facts.st_size)} if status == 416 else {}
            raise HTTPError(status, "precondition or range", unsatisfied)
        self.send_response(status)
        self.head.append(files.file_fields(etag, files.last_modified(mtime, int(now)), self.cache))
        if status == 304:
            os.close(fd)
            self.end_headers()
            return None
        self.head.append("X-Content-Type-Options: nosniff\r\nAccept-Ranges: bytes")
        if len(parts) > 1:
            return self.send_parts(fd, parts, facts.st_size, type_fields)
        [(start, stop)] = parts
        self.head.append(type_fields)
        self.send_length(stop - start)
        if status == 206:
            self.send_header("Content-Range", conditional.content_range(start, stop, facts.st_size))
        self.end_headers()
        return self.send_body(fd, start, stop)

    def send_parts(self, fd, parts, size, type_fields):
        """Send the rest of the head for several byte ranges of the open file *fd*; return their producer."""
        producer = producers.ByteRangesProducer(fd, parts, size, type_fields, self.chunk_size)
        self.send_header("Content-Type", producer.content_type)
        self.send_length(producer.length)
        self.end_headers()
        return producer

    def send_body(self, fd, start, stop):
        """Send bytes *start* to *stop* of the open file *fd*, and close it; if they are many, return a producer."""
        if self.bodiless:
            os.close(fd)
        elif stop - start > self.chunk_size:
            return producers.SendfileProducer(fd, start, stop, self.chunk_size)
        else:  # as most: they leave with their head, and need no producer and no file object
            self.push(producers.read_range(fd, start, stop))
        return None

    def send_unsized(self, fd, type_fields):
        """Send the head for a file whose length only reading it can tell; return its producer. It has no validators."""
        self.send_response(200)
        self.head.append("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff")
        self.head.append(type_fields)
        self.end_headers()
        return FileProducer(open(fd, "rb", buffering=0), self.chunk_size)

    def translate_path(self, path):
        """Return the file system path for the target *path*; it ends in "/" if that does. Raise HTTPError 404."""
        path = files.url_path(path)
        if not self.hidden and "/." in "/" + path.removeprefix("/.well-known/"):  # which is public (RFC 8615)
            raise HTTPError(404, "hidden file")
        return self.root + path

    def open_path(self, path, or_folder=False):
        """Open the regular file, *or_folder*, at *path*; return its descriptor and its os.fstat(). Raise HTTPError."""
        return files.open_path(path, self.root, self.follow_symlinks, or_folder, self.server.make_room)

    def redirect_to_folder(self, path):
        """Redirect from a folder without its slash to the one with it, always on this host."""
        target, mark, query = self.path.partition("?")
        if target.endswith("/") or not (self.listing or os.path.isfile(path + "/index.html")):
            raise HTTPError(404, "folder without index.html")
        location = ("/" + target.lstrip("/") + "/" + mark + query).translate(files.NO_URI)
        # Without "no-store" browsers keep a 301 for ever.
        self.send_content(301, {"Location": location, "Cache-Control": "no-store"})

    def send_listing(self, path):
        """Answer with the entries of the folder at *path*: as a page, or as JSON if the client accepts no HTML."""
        from asynchttpd import listing

        rules = self.root, self.hidden, self.follow_symlinks
        fd, _ = self.open_path(path, or_folder=True)
        try:
            page = listing.read_folder(fd, lambda entry: files.is_listed(entry, path, *rules), self.path)
        finally:
            os.close(fd)
        self.send_content(200, *listing.answer(files.url_path(self.path), page, self.headers.get("accept", "")))

    def error_page(self, code):
        """Return (fields, page) for an error: the site's own 404.html, if there is one."""
        if code == 404:
            try:
                fd, _ = self.open_path(self.root + "/404.html")
                with open(fd, "rb", buffering=0) as file:
                    return {"Content-Type": "text/html"}, file.read(self.error_page_limit)
            except (HTTPError, OSError):
                pass  # the usual case
        return super().error_page(code)


def parse_args(arguments=None):
    return command_line.argument_parser("Serve the files of a folder over HTTP.").parse_args(arguments)


def run(args=None, server_class=AsyncServer, handler=AsyncHTTPRequestHandler, boot=None):
    """Serve until told to stop, then exit with status 0; with 1 if the server cannot start.

    boot -- function(server) that each worker calls before it serves
    """
    running.serve(args or parse_args(), server_class, handler, boot, (AsyncServer, BaseHTTPRequestHandler))


if __name__ == "__main__":
    if sys.path[0] == values.current_folder():  # with `python -m httpd`, or started in this folder
        del sys.path[0]  # what is served there, such as a tempfile.py, is not ours to import
    run()

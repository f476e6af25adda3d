"""What an application says about its answer, checked by PEP 3333. It runs where the application runs, without sockets.

Not here: how the answer travels, and what runs the application (async_wsgi.py in the loop, threads.py in threads).
"""

import functools
import io
import logging
import os
import re
import stat
from wsgiref.util import FileWrapper

from asynchttpd import http1
from asynchttpd.producers import Aborted, SendfileProducer

STATUS = re.compile(r"[2-9][0-9]{2}(?: [\t -~\x80-\xff]*)?")  # no 1xx: interim answers are the server's
REPLACEABLE = {"date", "server"}  # fields that the server adds if the application does not
# Fields about the connection, which is the server's (RFC 9110 §7.6.1). Proxy-Authenticate, in older lists, is not.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}

NO_MORE = object()  # in place of the piece after the last

log = logging.getLogger("httpd")


class Answer:
    """What the application says about its answer to one request.

    code, reason, lines -- from start_response(): status and field lines
    names -- of its fields that replace ours: "date", "server"; "connection" if the connection is to be closed
    length -- the Content-Length, None if it is unknown
    left -- bytes that the body may still have, None if it may have any number
    full -- is the application to be asked for nothing more?
    begun -- has the head been passed on? Then it cannot be replaced any more
    ended -- has the application's close() been called? Then it can write no more
    ahead -- what the application has written while it was asked for its next piece; it is sent before that piece
    """

    # One is made for each request: with slots that and start() take a quarter less time.
    __slots__ = (  # noqa: RUF023
        "handler", "command", "path", "code", "reason", "lines", "names", "length", "left", "full", "begun", "ended",
        "ahead",
    )  # fmt: skip

    def __init__(self, handler):
        self.handler, self.command, self.path = handler, handler.command, handler.path
        self.code = self.length = self.left = None
        self.full = self.begun = self.ended = False
        self.ahead = b""

    @property
    def request(self):
        """The request that this answers, for the log; its handler may be at another one by now."""
        return f'{self.handler.client} "{self.command} {self.path}"'

    def start(self, status, response_headers, exc_info):
        """Do what start_response() is asked to. Until the head is passed on, an error may replace everything."""
        if exc_info:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # else the traceback keeps this frame alive, and the frame the traceback
        elif self.code is not None:
            raise RuntimeError("start_response() called a second time without exc_info")
        code, reason = checked_status(status)
        self.lines, self.length, self.names = checked_fields(response_headers)
        self.code, self.reason = code, reason

    def begin(self, whole):
        """The head is passed on; *whole* is the length of the body, None if it is unknown."""
        if self.code is None:
            raise RuntimeError("the application did not call start_response()")
        if self.code in (204, 304):
            self.left = 0
            if self.code == 204:  # RFC 9110 §8.6
                self.lines = [line for line in self.lines if not line.lower().startswith("content-length:")]
        else:
            if self.length is None and whole is not None:
                self.length = whole
                self.lines.append(f"Content-Length: {whole}")
            self.left = self.length
        self.begun = True

    def sendable(self, piece, result=None):
        """Return the part of *piece* that is sent. The first piece that is not empty begins the answer.

        result -- what the application has returned, if the piece is from there and not from write()
        """
        if not isinstance(piece, bytes):
            raise TypeError(f"the application made {type(piece).__name__}, not bytes, for its body")
        if piece and not self.begun:
            length = whole_length(result, piece)
            self.begin(length)
            self.full = length is not None and length == self.left
        if piece and self.command == "HEAD":
            self.full = True
            return b""
        return piece if self.left is None else self.measured(piece)

    def finish(self):
        """The application has made its last piece. Raise Aborted if all are less than the Content-Length."""
        self.full, was_begun = True, self.begun
        if not was_begun:
            # An empty body for HEAD says nothing about the body for GET.
            self.begin(None if self.command == "HEAD" else 0)
        if self.left and self.command != "HEAD":
            short = f"the application sent {self.left} bytes less than its Content-Length"
            raise Aborted(short) if was_begun else ValueError(short)

    def write(self, data):
        """The write() that start_response() returns: send *data* now."""
        self.handler.write_piece(self, data)

    def written(self, data):
        """Return the part of *data*, which was given to write(), that is sent."""
        if self.ended:
            raise RuntimeError("write() after the end of the answer")
        return self.sendable(data)

    def measured(self, piece):
        """Return *piece*, cut off where the Content-Length ends: the client would take the rest for the next answer."""
        if len(piece) > self.left:
            if not self.full:
                log.error("%s: body cut off at its Content-Length: the application has made more", self.request)
            self.full = True
            piece = piece[: self.left]
        self.left -= len(piece)
        return piece

    def close(self, result):
        """Call the close() of what the application returned, once; what it raises can only be logged by now."""
        self.ended = True
        try:
            if close := guarded(getattr, result, "close", None):
                guarded(close)
        except Exception:
            log.exception("%s: close() failed", self.request)


def producer_of(answer, result, chunk_size):
    """Return the producer of the body that the application has returned as *result*."""
    try:
        if not answer.begun and wraps_plain_file(result):
            return ApplicationFile(answer, result, chunk_size)
        return ApplicationProducer(answer, result)
    except BaseException:
        answer.close(result)
        raise


class ApplicationProducer:
    """Hands out the pieces of an application's iterable; each is asked for when the one before has left."""

    empty_limit = 16  # empty pieces that are asked for in one turn of the loop

    def __init__(self, answer, result):
        kind = type(result)  # is asked in place of the object, whose __getattr__() may do anything
        if issubclass(kind, (str, bytes)) or not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")):
            raise TypeError(f"the application returned {kind.__name__}, not an iterable of bytes")
        self.answer, self.result, self.pieces = answer, result, guarded(iter, result)

    def more(self):
        """Return the next piece, b"" after the last; None if all that were asked for were empty."""
        answer, piece, tries = self.answer, b"", self.empty_limit
        while not piece and not answer.full and tries > 0:
            made, tries = guarded(next, self.pieces, NO_MORE), tries - 1
            if made is NO_MORE:
                answer.finish()
            else:
                piece = answer.sendable(made, self.result)
        if answer.ahead:
            piece, answer.ahead = answer.ahead + piece, b""
        return piece if piece or answer.full else None

    def close(self):
        self.answer.close(self.result)

    # As a Job (threads.py), while nothing but empty pieces has come:

    def give_up(self, body):
        self.close()
        if body:
            body.close()

    def stack(self):
        return "it makes only empty pieces"


class ApplicationFile(SendfileProducer):
    """Hands out a plain file that the application has returned in `wsgi.file_wrapper`, for sendfile()."""

    def __init__(self, answer, result, chunk_size):
        fd, start = result.filelike.fileno(), result.filelike.tell()
        answer.begin(max(0, os.fstat(fd).st_size - start))
        # A descriptor of our own: the application may close its own, and the number be given to another file.
        super().__init__(os.dup(fd), start, start + answer.left, chunk_size)
        self.answer, self.result = answer, result

    def close(self):
        try:
            super().close()
        finally:
            self.answer.close(self.result)


def guarded(function, *arguments):
    """Call the application's *function*: sys.exit() in it is a fault of one request, not the end of the server."""
    try:
        return function(*arguments)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise
        # asyncore would take an OSError, such as ConnectionResetError, for our client's leaving.
        raise RuntimeError(f"the application raised {error!r}") from error


@functools.lru_cache(maxsize=64)
def checked_status(status):
    """Return (code, reason) of a status such as "200 OK" or "200"; raise ValueError for anything else."""
    if not isinstance(status, str) or not STATUS.fullmatch(status):
        raise ValueError(f"start_response(): not a status: {status!r}")
    return int(status[:3]), status[4:]


def checked_fields(response_headers):
    """Return (field lines, Content-Length or None, names as in Answer); raise for what would break the answer apart.

    PEP 3333 asks for a list of tuples; any iterable of pairs will do, as elsewhere.
    """
    lines, names, length = [], [], None
    for name, value in response_headers:
        try:
            known = known_fields[name, value]
        except TypeError:  # a list as value: no dict can look it up
            known = None
        line, kind, size = known or checked_field(name, value)
        if size is not None:
            if length not in (None, size):
                raise ValueError(f"start_response(): two lengths: {length} and {size}")
            line, length = "" if length is not None else line, size
        if kind:
            names.append(kind)
        if line:
            lines.append(line)
    return lines, length, names


def checked_field(name, value):
    """Return (field line, name as in Answer.names, Content-Length); "" or None for what it has not or is dropped.

    Raise TypeError or ValueError for what would break the head apart.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"start_response(): not a field of two strings: {name!r}: {value!r}")
    value = value.strip(" \t")
    line, name = http1.field_line(name, value), name.lower()
    if name in HOP_BY_HOP:
        if name == "connection" and "close" in [option.strip() for option in value.lower().split(",")]:
            return "", name, None
        say_dropped(name)
        return "", "", None
    if name != "content-length":
        return line, name if name in REPLACEABLE else "", None
    if not http1.LENGTH.fullmatch(value):
        raise ValueError(f"start_response(): not a length: {value!r}")
    return line, "", int(value)


class KnownFields(dict):
    """{(name, value): what checked_field() returns}: an application sends the same few again and again.

    An `lru_cache` would remember long ones, too, or the length would have to be looked at before each question.
    """

    limit = 256  # fields; then it starts anew

    def __missing__(self, field):
        checked = checked_field(*field)
        if len(field[0]) + len(field[1]) <= http1.SHORT:
            if len(self) >= self.limit:
                self.clear()
            self[field] = checked
        return checked


known_fields = KnownFields()


@functools.lru_cache(maxsize=len(HOP_BY_HOP))  # once for each name
def say_dropped(name):
    log.warning("the application's field %s is dropped: the connection is the server's (RFC 9110 §7.6.1)", name)


def whole_length(result, piece):
    """Return the length of the body if *piece*, the first of *result*, is all of it, else None."""
    try:
        return len(piece) if guarded(len, result) == 1 else None
    except TypeError:
        return None


def wraps_plain_file(result):
    """Tell whether *result* is `wsgi.file_wrapper` around a file whose descriptor holds the bytes that read() returns.

    The descriptor of a gzip file, for example, holds others.
    """
    if not isinstance(result, FileWrapper):
        return False
    file = result.filelike.raw if isinstance(result.filelike, io.BufferedReader) else result.filelike
    if type(file) is not io.FileIO:
        return False
    facts = os.fstat(file.fileno())
    return stat.S_ISREG(facts.st_mode) and facts.st_size > 0  # files in /proc say 0, and have more

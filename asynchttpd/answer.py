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
# Fields about the connection, which is the server's (RFC 9110 §7.6.1). Proxy-Authenticate, in older lists, is not.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}

log = logging.getLogger("httpd")


class Answer:
    """What the application says about its answer to one request.

    code, reason, lines, names -- from start_response(): status, field lines, their names in lower case;
        "connection" is among these if the connection is to be closed
    length -- the Content-Length, None if it is unknown
    left -- bytes that the body may still have, None if it may have any number
    overrun -- has the application made more than that?
    whole -- was the first piece known to be the last?
    begun -- has the head been passed on? Then it cannot be replaced any more
    ended -- has the application's close() been called? Then it can write no more
    ahead -- what the application has written while it was asked for its next piece; it is sent before that piece
    """

    # One is made for each request: with slots that and start() take a quarter less time.
    __slots__ = (  # noqa: RUF023
        "handler", "command", "path", "code", "reason", "lines", "names", "length", "left", "begun", "overrun", "whole",
        "ended", "ahead",
    )  # fmt: skip

    def __init__(self, handler):
        self.handler, self.command, self.path = handler, handler.command, handler.path
        self.code = self.length = self.left = None
        self.begun = self.overrun = self.whole = self.ended = False
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

    def pieces(self, result):
        """Yield the pieces of *result* that are sent, None for an empty one.

        Raise Aborted if they are less than the Content-Length.
        """
        for piece in checked_result(result):
            if checked_piece(piece):
                if not self.begun:
                    length = whole_length(result, piece)
                    self.whole = length is not None
                    self.begin(length)
                if self.command == "HEAD":
                    return
                if piece := self.measured(piece):
                    yield piece
                if self.overrun:
                    return
            else:
                yield None
        was_begun = self.begun
        if not was_begun:
            # An empty body for HEAD says nothing about the body for GET.
            self.begin(None if self.command == "HEAD" else 0)
        if self.left and self.command != "HEAD":
            short = f"the application sent {self.left} bytes less than its Content-Length"
            raise Aborted(short) if was_begun else ValueError(short)

    def written(self, data):
        """Return the part of *data*, which was given to write(), that is sent."""
        if self.ended:
            raise RuntimeError("write() after the end of the answer")
        if checked_piece(data) and not self.begun:
            self.begin(None)
        return self.measured(data) if data and self.command != "HEAD" else b""

    def measured(self, piece):
        """Return *piece*, cut off where the Content-Length ends: the client would take the rest for the next answer."""
        if self.left is None:
            return piece
        if len(piece) > self.left:
            if not self.overrun:
                log.error("%s: body cut off at its Content-Length: the application has made more", self.request)
            self.overrun = True
            piece = piece[: self.left]
        self.left -= len(piece)
        return piece

    def close(self, result):
        """Call the close() of what the application returned, once; what it raises can only be logged by now."""
        self.ended = True
        if hasattr(result, "close"):
            try:
                guarded(result.close)
            except Exception:
                log.exception("%s: close() failed", self.request)


def producer_of(answer, result, chunk_size):
    """Return the producer of the body that the application has returned as *result*."""
    try:
        if not answer.begun and wraps_plain_file(result):
            return ApplicationFile(answer, result, chunk_size)
    except BaseException:
        answer.close(result)
        raise
    return ApplicationProducer(answer, result)


class ApplicationProducer:
    """Hands out the pieces of an application's iterable; each is asked for when the one before has left."""

    empty_limit = 16  # empty pieces that are asked for in one turn of the loop

    def __init__(self, answer, result):
        self.answer, self.result = answer, result
        self.pieces = answer.pieces(result)

    def first(self):
        """Return what is made before the head, with which it travels; None as more() does."""
        return b"" if self.answer.begun else self.more()

    def more(self):
        """Return the next piece, b"" after the last; None if all that were asked for were empty."""
        piece, tries = guarded(next, self.pieces, b""), self.empty_limit
        while piece is None and tries > 0:
            piece, tries = guarded(next, self.pieces, b""), tries - 1
        if self.answer.ahead:
            piece, self.answer.ahead = self.answer.ahead + (piece or b""), b""
        return piece

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

    def first(self):
        return b""

    def close(self):
        super().close()
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


def checked_result(result):
    if isinstance(result, (str, bytes)) or not (hasattr(result, "__iter__") or hasattr(result, "__getitem__")):
        raise TypeError(f"the application returned {type(result).__name__}, not an iterable of bytes")
    return result


def checked_piece(piece):
    if not isinstance(piece, bytes):
        raise TypeError(f"the application made {type(piece).__name__}, not bytes, for its body")
    return piece


@functools.lru_cache(maxsize=64)
def checked_status(status):
    """Return (code, reason) of a status such as "200 OK" or "200"; raise ValueError for anything else."""
    if not isinstance(status, str) or not STATUS.fullmatch(status):
        raise ValueError(f"start_response(): not a status: {status!r}")
    return int(status[:3]), status[4:]


def checked_fields(response_headers):
    """Return (field lines, Content-Length or None, lower-case names); raise for what would break the answer apart.

    PEP 3333 asks for a list of tuples; any iterable of pairs will do, as elsewhere.
    """
    lines, names, length = [], [], None
    for name, value in response_headers:
        is_short = isinstance(value, str) and len(value) <= http1.SHORT
        line, name = (remembered_field if is_short else checked_field)(name, value)
        if name == "content-length":
            if length not in (None, int(value)):
                raise ValueError(f"start_response(): two lengths: {length} and {value}")
            line, length = "" if length is not None else line, int(value)
        names.append(name)
        if line:
            lines.append(line)
    return lines, length, names


def checked_field(name, value):
    """Return (field line, lower-case name), both empty if it is dropped; raise for what would break the head apart."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"start_response(): not a field of two strings: {name!r}: {value!r}")
    value = value.strip(" \t")
    line, name = http1.field_line(name, value), name.lower()
    if name in HOP_BY_HOP:
        if name == "connection" and "close" in [option.strip() for option in value.lower().split(",")]:
            return "", name
        say_dropped(name)
        return "", ""
    if name == "content-length" and not http1.LENGTH.fullmatch(value):
        raise ValueError(f"start_response(): not a length: {value!r}")
    return line, name


remembered_field = functools.lru_cache(maxsize=256)(checked_field)  # an application sends the same few again and again


@functools.lru_cache(maxsize=len(HOP_BY_HOP))  # once for each name
def say_dropped(name):
    log.warning("the application's field %s is dropped: the connection is the server's (RFC 9110 §7.6.1)", name)


def whole_length(result, piece):
    """Return the length of the body if *piece*, the first of *result*, is all of it, else None."""
    try:
        return len(piece) if len(result) == 1 else None
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

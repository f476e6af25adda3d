"""Producers make a body piece by piece: asynchat calls more() until it returns b"".

Nothing is made before the socket has room for it: that is back-pressure, and the beauty of asynchat. Our producers also
have close(), which the channel calls when the last piece, or the client, has left.

Not here: when a piece is asked for, and how it is sent (channel.py).
"""

import logging
import os
import sys

from asynchttpd.conditional import content_range

HAS_SENDFILE = sys.platform == "linux"  # elsewhere os.sendfile() differs, and files are read in pieces

TRUNCATED = "file was truncated while it was being sent"

log = logging.getLogger("httpd")


class Aborted(Exception):
    """The answer cannot be completed, and its head is made: the connection must be cut so that the client can tell."""


class FileProducer:
    """Hands out an open binary *file* from its current position, piece by piece.

    file -- closed by close()
    chunk_size -- bytes of a piece at most
    count -- bytes in all; None means to the end of the file. With a count a shorter file is an error: a head with
             this Content-Length has been sent
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
            raise Aborted(TRUNCATED)
        self.left -= len(piece)
        return piece

    def close(self):
        self.file.close()


class SendfileProducer:
    """Hands out bytes *start* to *stop* of the regular file *fd*: by sendfile(), or piece by piece as a FileProducer.

    fd -- a descriptor, not a file object: that of a gzip file, for example, holds other bytes. close() closes it
    position, left -- where the next byte is; how many there are from there on
    """

    by_sendfile = HAS_SENDFILE  # until it refuses

    def __init__(self, fd, start, stop, chunk_size=4096):
        self.fd, self.position, self.left, self.chunk_size = fd, start, stop - start, chunk_size

    def more(self):
        piece = self.read(self.chunk_size) if self.left else b""
        self.advance(len(piece))
        return piece

    def read(self, size):
        """Return up to *size* of the next bytes, which stay the next ones; raise Aborted as a FileProducer does."""
        piece = os.pread(self.fd, min(size, self.left), self.position)
        if not piece:
            raise Aborted(TRUNCATED)
        return piece

    def advance(self, count):
        """The next *count* bytes have been sent."""
        self.position += count
        self.left -= count

    def close(self):
        if self.fd >= 0:
            fd, self.fd = self.fd, -1  # a second call must not close what somebody else has opened since
            os.close(fd)


def read_range(fd, start, stop):
    """Return bytes *start* to *stop* of the open file *fd*, and close it; raise Aborted if they are not there."""
    try:
        data = os.pread(fd, stop - start, start)
    finally:
        os.close(fd)
    if len(data) < stop - start:
        raise Aborted(TRUNCATED)
    return data


def goes_by_sendfile(producer):
    return isinstance(producer, SendfileProducer) and producer.by_sendfile and producer.left


class ByteRangesProducer:
    """Hands out several ranges of the open file *fd*, each behind a head of its own (RFC 9110 §14.6).

    fd -- closed by close()
    parts -- the ranges, half-open
    size -- bytes of the whole file
    fields -- lines for each head: what the file is
    content_type, length -- the type, with what stands between the ranges, and bytes in all: for the answer's head
    """

    def __init__(self, fd, parts, size, fields, chunk_size):
        self.file, self.chunk_size = open(fd, "rb", buffering=0), chunk_size
        boundary = os.urandom(16).hex()  # nobody who writes a file can have put it there
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        heads = [
            f"\r\n--{boundary}\r\n{fields}\r\nContent-Range: {content_range(start, stop, size)}\r\n\r\n".encode()
            for start, stop in parts
        ]
        end = f"\r\n--{boundary}--\r\n".encode()
        self.length = sum(map(len, heads)) + sum(stop - start for start, stop in parts) + len(end)
        self.pieces = self.make_pieces(heads, parts, end)

    def make_pieces(self, heads, parts, end):
        for head, (start, stop) in zip(heads, parts, strict=True):
            self.file.seek(start)
            part = FileProducer(self.file, self.chunk_size, stop - start)
            yield head
            yield from iter(part.more, b"")
        yield end

    def more(self):
        """Return the next pieces, together, since ranges may be tiny; b"" after the last."""
        data = b""
        while len(data) < self.chunk_size and (piece := next(self.pieces, b"")):
            data += piece
        return data

    def close(self):
        self.file.close()


class ChunkedProducer:
    """Hands out the pieces of another producer, each framed as a chunk (RFC 9112 §7.1)."""

    def __init__(self, producer):
        self.producer = producer

    def more(self):
        return chunk(self.producer.more())

    def close(self):
        close_producer(self.producer)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data) if data else data


def first_piece(producer):
    """Return the first piece of *producer*, b"" for none; close the producer if that fails, since nobody has it yet."""
    try:
        return producer.more() or b""
    except Exception:
        close_producer(producer)
        raise


def close_producer(producer):
    if hasattr(producer, "close"):  # asynchat asks for nothing but more()
        release(producer.close)


def release(function, *arguments):
    """Call *function*, which frees something. Log what it raises, so that everything else is freed, too."""
    try:
        function(*arguments)
    except Exception:
        log.exception("could not clean up: %r failed", function)

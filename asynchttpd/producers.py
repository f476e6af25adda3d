"""What makes a body piece by piece. asynchat calls it a producer: more() until that is b"".

Nothing is made before the socket wants it. That is the back-pressure, and the beauty of asynchat. A producer of ours
also has close(), which the channel calls when the last piece has left or the client has.

Not here: when a piece is asked for, and how it is sent (channel.py).
"""

import logging
import sys

HAS_SENDFILE = sys.platform == "linux"  # elsewhere os.sendfile() differs, and files are read in pieces

log = logging.getLogger("httpd")


class Aborted(Exception):
    """An answer whose head is made cannot be completed: the connection must be cut so that the client can tell."""


class FileProducer:
    """Hands out an open binary *file* from its current position, piece by piece.

    file -- closed by close()
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

    by_sendfile = HAS_SENDFILE  # until it refuses


def goes_by_sendfile(producer):
    return isinstance(producer, SendfileProducer) and producer.by_sendfile and producer.left


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


def close_producer(producer):
    if hasattr(producer, "close"):  # asynchat asks for nothing but more()
        release(producer.close)


def release(function, *arguments):
    """Call *function*, which gives something back. If that fails it is logged: whatever else is held must go, too."""
    try:
        function(*arguments)
    except Exception:
        log.exception("could not clean up: %r failed", function)

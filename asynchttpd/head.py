"""A request's head while it comes in: collected, counted, and refused as soon as it cannot become a good one.

Not here: what a complete head means (http1.py); how long it may take (httpd.py).
"""

from asynchttpd import http1
from asynchttpd.http1 import HTTPError


class Head:
    """The head of one request after the other.

    pieces -- of the head that is coming in, as asynchat hands them on; no empty lines before it
    size -- bytes of these
    blank -- bytes of the empty lines before it
    """

    __slots__ = ("blank", "pieces", "size")

    def __init__(self):
        self.pieces = []
        self.size = self.blank = 0

    def add(self, data):
        """Take *data* from the wire; raise HTTPError 400, or 414, 431 or 505 as soon as it is too long."""
        # A tuple: bytes in bytes costs four times as much, since Python first takes the former for a number, and fails.
        if not self.pieces and data[:1] in (b"\r", b"\n"):
            data = self.skip_blank(data)
        if data:
            self.pieces.append(data)
            self.size += len(data)
            if self.size > http1.HEAD_LIMIT:
                raise http1.oversized_head(b"".join(self.pieces))

    def skip_blank(self, data):
        """Return *data* without the empty lines at its start; a few before a request are allowed (RFC 9112 §2.2)."""
        rest = http1.skip_empty_lines(data)
        self.blank += len(data) - len(rest)
        if self.blank > http1.BLANK_LIMIT:
            raise HTTPError(400, "too many empty lines before a request")
        return rest

    def check_last(self):
        """Raise HTTPError 400 if the last piece cannot belong to a head: then we need not wait for the rest."""
        http1.check_partial_head(self.pieces[-1])

    def clear(self):
        """Start the next one."""
        self.pieces.clear()
        self.size = self.blank = 0

"""A chunked body (RFC 9112 §7.1) taken apart, in whatever pieces it arrives: bytes in, bytes out, no I/O."""

import re

from asynchttpd.http1 import (
    BAD_OCTET,
    FIELD_COUNT_LIMIT,
    FIELD_LIMIT,
    HEAD_LIMIT,
    TOKEN,
    HTTPError,
    check_partial_head,
    parse_fields,
)  # fmt: skip

CHUNK_LINE_LIMIT = 4096  # bytes of one chunk-size line with its extensions; above it 400
CHUNK_LINES_AT_ONCE = 256  # lines of a chunked body read in one go: 40,000 chunks of a byte may come in one recv

QUOTED_STRING = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}})(?:[ \t]*;[ \t]*{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|{QUOTED_STRING}))?)*".encode("ascii")
)


class ChunkedDecoder:
    """Takes a chunked body (RFC 9112 §7.1) apart, in whatever pieces it arrives.

    limit -- bytes the body may take on the wire, framing included: a million chunks of one byte are
             six million bytes of work. Chunk extensions and trailers are checked and dropped.

    >>> decoder = ChunkedDecoder(100)
    >>> decoder.decode(b"5\\r\\nhel") + decoder.decode(b"lo\\r\\n0\\r\\n\\r\\nGET /")
    b'hello'
    >>> decoder.done, decoder.rest
    (True, b'GET /')
    """

    def __init__(self, limit: int):
        self.room = limit
        self.take_line = self.take_size  # what the next line is: a size, the end of a chunk, a trailer
        self.missing = 0  # bytes of the current chunk still to come
        self.pending = b""  # start of a line that has not ended yet
        self.trailers: list[str] = []
        self.done = False
        self.rest = b""  # what came behind the body: the next request; not done, it is for the next decode()

    def decode(self, data: bytes) -> bytes:
        """Return the bytes of the body in *data*; raise HTTPError 400, 413 or 431."""
        data = self.pending + data
        body, start, lines = [], 0, 0
        while not self.done and lines < CHUNK_LINES_AT_ONCE:
            if self.missing:
                piece = data[start : start + self.missing]
                body.append(piece)
                start += len(piece)
                self.missing -= len(piece)
                if self.missing:
                    break
            stop = data.find(b"\r\n", start)
            if stop < 0:
                break
            self.take_line(data[start:stop])
            start, lines = stop + 2, lines + 1
            if start + self.missing > self.room:
                raise HTTPError(413, "chunked body above the limit")
        self.room -= start
        is_cut = self.done or lines == CHUNK_LINES_AT_ONCE
        self.pending, self.rest = (b"", data[start:]) if is_cut else (data[start:], b"")
        self.check_pending()
        return b"".join(body)

    def check_pending(self) -> None:
        if self.take_line == self.take_trailer:
            if len(self.pending) > FIELD_LIMIT + 1:  # a CR at its end is not of the line
                raise HTTPError(431, f"trailer of more than {FIELD_LIMIT} bytes")
        elif len(self.pending) > CHUNK_LINE_LIMIT + 1:
            raise HTTPError(400, "endless line in a chunked body")
        if BAD_OCTET.search(self.pending.removesuffix(b"\r")):
            raise HTTPError(400, "control character in a chunked body")

    def take_size(self, line: bytes) -> None:
        match = CHUNK_LINE.fullmatch(line) if len(line) <= CHUNK_LINE_LIMIT else None
        if match is None:
            raise HTTPError(400, "malformed chunk size")
        self.missing = int(match.group(1), 16)
        self.take_line = self.take_chunk_end if self.missing else self.take_trailer

    def take_chunk_end(self, line: bytes) -> None:
        if line:
            raise HTTPError(400, "chunk longer than its size")
        self.take_line = self.take_size

    def take_trailer(self, line: bytes) -> None:
        if not line:
            parse_fields(self.trailers)
            self.done = True
        elif len(self.trailers) >= FIELD_COUNT_LIMIT or sum(map(len, self.trailers)) > HEAD_LIMIT:
            raise HTTPError(431, "too many trailers")
        else:
            check_partial_head(line)
            self.trailers.append(line.decode("latin-1"))

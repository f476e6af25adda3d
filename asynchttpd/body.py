"""A request's body while it comes in: decoded, counted, timed, and kept for whoever reads it.

Not here: whether there is a body, and how long it is (http1.py: body_framing).
"""

import tempfile
import time

from asynchttpd import http1
from asynchttpd.http1 import HTTPError


class Body:
    """The body of one request.

    length -- its bytes as the head has told, None if it is chunked
    limit -- bytes of a chunked body at most
    memory_limit -- bytes kept in memory; above it a temporary file
    file -- what has come, an open binary file; closed by close()
    received -- bytes that have come, decoded
    """

    def __init__(self, length, limit, memory_limit):
        self.decoder = http1.ChunkedDecoder(limit) if length is None else None
        self.file = tempfile.SpooledTemporaryFile(memory_limit)
        self.received, self.started = 0, time.monotonic()

    def add(self, data):
        """Take *data* from the wire; raise HTTPError 400, 413, 431 (of chunks) or 507."""
        if self.decoder:
            data = self.decoder.decode(data)
        self.received += len(data)
        try:
            self.file.write(data)
        except OSError as error:
            raise HTTPError(507, f"cannot spool a body: {error}") from error

    def close(self):
        self.file.close()

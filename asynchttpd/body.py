"""A request's body while it comes in: decoded, counted, and kept for its reader.

A short one stays in memory. A longer one goes to a temporary file without a name, which is gone with its last
descriptor, and is written without a buffer: a full disk shows at the byte that finds no room, not at the end.

Not here: whether there is a body, and how long it is (http1.py: body_framing); how long it may take (httpd.py).
"""

import io
import os

from asynchttpd.chunked import ChunkedDecoder
from asynchttpd.http1 import HTTPError


def temporary_folder():
    """Return where temporary files are made: TMPDIR if we may write there (with --user it may be root's own)."""
    folder = os.environ.get("TMPDIR", "")
    return folder if os.access(folder, os.W_OK | os.X_OK) else "/tmp"


def unnamed_file():
    """Return a new file without a name, open for reading and writing; raise OSError.

    tempfile would do the same. With shutil, random and what they import it takes a megabyte, and a tenth of the start.
    """
    path = os.path.join(temporary_folder(), f"asynchttpd-{os.urandom(8).hex()}")
    file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b", buffering=0)
    os.unlink(path)
    return file


def free_space():
    """Return the bytes that are free where temporary files are made; raise HTTPError 507 if there is no such folder."""
    try:
        facts = os.statvfs(temporary_folder())
    except OSError as error:
        raise HTTPError(507, f"no temporary files: {error.strerror}") from error
    return facts.f_bavail * facts.f_frsize


class BodyFile(io.BufferedReader):
    """The file that a body is read from. It is read-only and has no `mode`, since gzip and wave write to "rb+"."""

    mode = property()


class Body:
    """The body of one request.

    length -- its bytes as the head says, None if it is chunked
    limit -- bytes of a chunked body at most, its framing included
    memory_limit -- bytes kept in memory; above it a temporary file
    reserve -- function(size, free_space): may *size* more bytes go to the disk? A negative size gives them back
    wanted -- will anything read it? Else it is counted and discarded
    received -- bytes that have come, decoded
    file -- holds them; ready for reading after rewind()
    """

    def __init__(self, length, limit, memory_limit, reserve, wanted=True):
        self.decoder = ChunkedDecoder(limit) if length is None else None
        self.memory_limit, self.reserve, self.wanted = memory_limit, reserve, wanted
        self.received = self.reserved = 0
        self.file = io.BytesIO()
        if length is not None and length > memory_limit and wanted:
            self.make_room(length)  # refused before it has come

    def add(self, data):
        """Take *data* from the wire; raise HTTPError 400, 413 or 431 (of chunks), 503 or 507."""
        if self.decoder:
            data = self.decoder.decode(data)
        self.received += len(data)
        if not self.wanted:
            return
        if self.received > self.memory_limit:
            self.make_room(self.received - self.reserved)
            self.spool(data)
        else:
            self.file.write(data)

    def make_room(self, size):
        """Reserve *size* more bytes on the disk; raise HTTPError 503."""
        if size > 0:
            if not self.reserve(size, free_space):
                raise HTTPError(503, "the bodies of all requests take too much of the disk")
            self.reserved += size

    def spool(self, data):
        """Write *data* to the temporary file, after what was in memory until now; raise HTTPError 507."""
        try:
            if isinstance(self.file, io.BytesIO):
                data = self.file.getvalue() + data
                self.file = unnamed_file()
            view = memoryview(data)
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:  # the disk, a quota, RLIMIT_FSIZE, or no folder that can be written
            raise HTTPError(507, f"cannot keep a body: {error.strerror}") from error

    def rewind(self):
        """The body is complete: *file* is now for reading it, from the start."""
        self.file.seek(0)
        self.file = BodyFile(self.file)

    def close(self):
        self.file.close()
        if self.reserved:
            self.reserve(-self.reserved, free_space)
            self.reserved = 0

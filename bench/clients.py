"""Clients that wrk and ab cannot be: idle ones by the thousand, slow readers, and one that reads a large file."""

import contextlib
import errno
import resource
import select
import socket
import struct
import time

from measure import Failed


def raise_descriptor_limit():
    """Allow as many descriptors as we may have; servers inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def request(path, close=False):
    connection = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{connection}\r\n".encode()


class IdleConnections:
    """*count* keep-alive connections, each of which has been answered once and then says nothing."""

    open_timeout = 12.0  # seconds for all of them: what keep-alive allows the first one is not much more
    batch = 50  # asked for at once, so that no server waits for us

    def __init__(self, port, path, count):
        self.port, self.path, self.count = port, path, count
        self.sockets = []
        deadline = time.monotonic() + self.open_timeout
        try:
            while len(self.sockets) < count:
                if time.monotonic() > deadline:
                    raise Failed(f"only {len(self.sockets)} of {count} idle connections in {self.open_timeout:.0f} s")
                self.open_batch()
        except OSError as error:
            self.close()
            reason = error.strerror or "no answer in 3 s"
            raise Failed(f"near idle connection {len(self.sockets)} of {count}: {reason}") from error
        except BaseException:
            self.close()
            raise

    def open_batch(self):
        opened = []
        for _ in range(min(self.batch, self.count - len(self.sockets))):
            opened.append(socket.create_connection(("127.0.0.1", self.port), timeout=3))
            self.sockets.append(opened[-1])
            opened[-1].sendall(request(self.path))
        for connection in opened:
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise Failed(f"near idle connection {len(self.sockets)} of {self.count}: not answered with 200")
            connection.setblocking(False)

    def lost(self):
        """Return how many the server has closed."""
        return sum(map(is_closed, self.sockets))

    def close(self):
        """Reset them all: 10,000 in TIME_WAIT would leave the next case without ports."""
        for connection in self.sockets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def is_closed(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class SlowReader:
    """Asks for *path*; takes what slowly() and quickly() say, and counts."""

    def __init__(self, port, path):
        self.received = 0
        self.socket = socket.socket()
        # A small window: what the server has sent must not wait in our kernel instead of in its memory.
        # Segments as on a network: with loopback's 64 KiB such a window stalls for 200 ms at a time.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        self.socket.settimeout(3)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(request(path, close=True))
        self.socket.setblocking(False)

    def fileno(self):
        return self.socket.fileno()

    def read(self, size):
        """Take up to *size* bytes; return False at the end."""
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno == errno.ECONNRESET:
                return False
            raise
        self.received += len(data)
        return data != b""


@contextlib.contextmanager
def slow_readers(port, path, count):
    readers = []
    try:
        for _ in range(count):
            readers.append(SlowReader(port, path))
        yield readers
    except OSError as error:
        raise Failed(f"slow reader {len(readers) + 1} of {count}: {error.strerror or 'timed out'}") from error
    finally:
        for reader in readers:
            reader.socket.close()


def finish(readers, seconds):
    """Read the rest of all answers as fast as they come, for at most *seconds*."""
    deadline = time.monotonic() + seconds
    poller = select.epoll()
    with contextlib.closing(poller):
        waiting = {reader.fileno(): reader for reader in readers}
        for fd in waiting:
            poller.register(fd, select.EPOLLIN)
        while waiting and time.monotonic() < deadline:
            for fd, _event in poller.poll(0.1):
                if not waiting[fd].read(262144):
                    # Closed at once, which also leaves the poller: a server may linger until we do.
                    waiting.pop(fd).socket.close()


def download(port, path, size):
    """Fetch *path* and throw it away; raise Failed unless its body has *size* bytes."""
    buffer = bytearray(1024 * 1024)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request(path, close=True))
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    raise Failed("closed before the end of the head")
                head += data
            if b" 200 " not in head[:20]:
                raise Failed(f"answered {head[9:12].decode(errors='replace')} to a large file")
            received = len(head) - head.index(b"\r\n\r\n") - 4
            while received < size:
                count = connection.recv_into(buffer)
                if not count:
                    raise Failed(f"{received} of {size} bytes of a large file")
                received += count
    except OSError as error:
        raise Failed(f"large file: {error.strerror or 'timed out'}") from error

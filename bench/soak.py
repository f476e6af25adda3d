"""Everything at once for minutes: do descriptors, threads and memory stay what they were?

    python bench/soak.py [--minutes 10]

A file server and an application server with three workers each get ranges, uploads, streams, resets and slow clients.
In each minute a worker of each is killed, in each third one both are reloaded; then the clients pause, and what is open
must be what was open at the start. The clients are paced: half a core is enough. Prints a row for each minute; exits
with 1 if more failed than the killed workers held, or if something grew. Loopback only; Linux.
"""

import argparse
import contextlib
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

import drill
import faults

FILE = random.Random(1).randbytes(4 * 2**20)
WORKERS = 3
REST = 20.0  # seconds that connections may take to end when the clients pause
MAY_GROW = 2.0  # MiB that the largest worker may have more in the second half than in the first
HEADING = """\
descriptors + threads of master and workers; MiB of the master and of the largest worker
| minute | answered | failed | held by killed workers | files | application | MiB, files | | MiB, application | |
|--:|--:|--:|--:|---|---|--:|--:|--:|--:|"""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset


def answers(server, path, fields):
    """Ask once with each of *fields*, on one connection, and on a new one when we are told to; yield the bodies."""
    sock = None
    for field in fields:
        sock = sock or server.client()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode() + field + b"\r\n")
        head, body = faults.read_message(sock)
        yield body
        if b"Connection: close" in head:
            sock.close()
            sock = None
    if sock:
        sock.close()


def ranges(files, application):
    """Ask for five pieces of the file, and compare the bytes."""
    starts = [random.randrange(len(FILE) - 100_000) for _ in range(5)]
    stops = [start + random.randrange(1, 100_000) for start in starts]
    fields = [b"Range: bytes=%d-%d\r\n" % (start, stop - 1) for start, stop in zip(starts, stops, strict=True)]
    expect(list(answers(files, "/file", fields)), [FILE[start:stop] for start, stop in zip(starts, stops, strict=True)])
    return 5


def slow_download(files, application):
    """Read the file at 1 MB a second."""
    with files.client() as sock, sock.makefile("rb") as reader:
        sock.sendall(b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := reader.read(50_000):
            answer += piece
            time.sleep(0.05)
    expect(answer.partition(b"\r\n\r\n")[2] == FILE, True)
    return 1


def slow_head(files, application):
    with files.client() as sock:
        for byte in b"GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n":
            sock.sendall(bytes([byte]))
            time.sleep(0.05)
        expect(faults.read_answer(sock), (206, FILE[:1]))
    return 1


def upload(files, application):
    size = random.randrange(1, 2_000_000)
    with application.client() as sock:
        expect(faults.exchange(sock, "/upload", b"POST", bytes(size)), (200, str(size).encode()))
    return 1


def stream(files, application):
    with application.client() as sock:
        expect(faults.exchange(sock, "/ticks"), (200, b"".join(b"%d\n" % number for number in range(20))))
    return 1


def hello(files, application):
    expect(list(answers(application, "/hello", 20 * [b""])), 20 * [b"1"])
    return 20


def leave(files, application):
    """Leave in the middle: of a head, of a body, of an answer; by a reset or like a tired reader."""
    for server, request in [
        (files, b"GET /fi"),
        (files, b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n"),
        (application, b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + bytes(500_000)),
        (application, b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]:
        with server.client() as sock:
            sock.sendall(request)
            time.sleep(0.02)
            if random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return 0


VISITS = (ranges, slow_download, slow_head, upload, stream, hello, leave)


def expect(found, wanted):
    if found != wanted:
        raise ValueError(f"not what was asked for: {str(found)[:60]}")


class Clients:
    """Two threads for each kind of visit, for the length of a `with` block. Nothing is tried twice."""

    def __init__(self, *servers):
        self.servers, self.answered, self.failures, self.began = servers, [], [], time.monotonic()
        self.pause = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(visit,)) for visit in 2 * VISITS]

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.pause.set()
        for thread in self.threads:
            thread.join()

    def run(self, visit):
        while not self.pause.wait(0.2):
            try:
                self.answered.append(visit(*self.servers))
            except (OSError, ValueError) as error:
                self.failures.append(f"{time.monotonic() - self.began:.1f} s: {visit.__name__}: {error}")


def at_rest(server, wanted=None):
    """Wait until what the processes have open is *wanted*, and count.

    Return [(descriptors, threads)] of master and workers, and the MiB of the master and of the largest worker.
    """
    deadline = time.monotonic() + REST
    while True:
        with contextlib.suppress(FileNotFoundError):  # a worker has just ended
            processes = [drill.belongings(pid) for pid in (server.process.pid, *server.workers())]
            found = [(descriptors, threads) for descriptors, threads, _ in processes]
            if time.monotonic() > deadline or (found == wanted if wanted else len(found) == 1 + WORKERS):
                memory = [size for *_, size in processes]
                return found, (memory[0], max(memory[1:]))
        time.sleep(0.1)


def minute(servers, seconds, with_reload):
    """Let the clients work; return (answered, failures, connections that the killed workers held)."""
    clients, held = Clients(*servers), 0
    with clients:
        time.sleep(seconds / 3)
        for server in servers:
            victim = random.choice(server.workers())
            os.kill(victim, signal.SIGSTOP)  # or it would accept another while we count
            held += drill.connections(victim)
            os.kill(victim, signal.SIGKILL)
        time.sleep(seconds / 3)
        for server in with_reload * servers:
            server.reload()
        time.sleep(seconds / 3)
    return sum(clients.answered), clients.failures, held


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=10, help="how long (default: %(default)s)")
    args = parser.parse_args()
    checkout, good, sizes = faults.BENCH.parent, True, []
    options = "-w", WORKERS, "--access-log", "access.log"
    with (
        faults.Server(checkout, *options, program="httpd.py").started() as files,
        faults.Server(checkout, *options, "--threads", 8).started() as application,
    ):
        servers = files, application
        (files.folder / "file").write_bytes(FILE)
        time.sleep(2)  # until the last worker serves
        first = [at_rest(server)[0] for server in servers]
        print(HEADING)
        for number in range(1, args.minutes + 1):
            answered, failures, held = minute(servers, 56, number % 3 == 1)
            found, memory = zip(*map(at_rest, servers, first), strict=True)
            sizes.append(max(sum(memory, ())))
            cells = [number, answered, len(failures), held, *(totals(counts) for counts in found)]
            cells += [f"{size:.1f}" for pair in memory for size in pair]
            print("|", " | ".join(map(str, cells)), "|", flush=True)
            good = good and list(found) == first and len(failures) <= held
            for text in failures:
                print(f"  {text}", file=sys.stderr)
    grown = max(sizes[len(sizes) // 2 :]) - max(sizes[: (len(sizes) + 1) // 2])
    print(f"the largest process has grown by {grown:.1f} MiB from the first half to the second")
    sys.exit(not good or grown > MAY_GROW)


def totals(counts):
    return "{} + {}".format(*map(sum, zip(*counts, strict=True)))


if __name__ == "__main__":
    main()

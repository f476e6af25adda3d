"""Prove under load that reloads lose nothing and kills lose little, that the master does not grow, and work is shared.

    python bench/drill.py [--seconds 60]

Prints one line for each drill, and exits with 1 if one has failed. The last two need ab. Uses loopback only.
"""

import argparse
import collections
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUEST = b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n"


class Server:
    """httpd.py with a number of workers, for the length of a `with` block."""

    def __init__(self, workers, *options):
        self.count = workers
        self.command = [sys.executable, str(ROOT / "httpd.py"), "--port", "0", "-r", str(ROOT / "www")]
        self.command += ["-w", str(workers), *options]

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stderr=self.log)
        while not (started := re.search(r":(\d+)/ ", self.output())):
            time.sleep(0.05)
        self.port = int(started[1])
        while len(self.workers()) < self.count:
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def output(self):
        return os.pread(self.log.fileno(), 2**24, 0).decode()

    def workers(self):
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def belongings(self):
        return belongings(self.process.pid)


def belongings(pid):
    """Return descriptors, threads and resident MiB of a process."""
    proc = Path(f"/proc/{pid}")
    status = (proc / "status").read_text()
    threads, resident = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("Threads", "VmRSS"))
    return len(list((proc / "fd").iterdir())), threads, round(resident / 1024, 1)


class Load:
    """Clients on kept connections in threads, for the length of a `with` block. Nothing is tried twice."""

    def __init__(self, server, clients=8):
        self.server, self.answered, self.failures = server, 0, []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def ask(self):
        while not self.done.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", self.server.port), 10) as sock,
                    sock.makefile("rb") as reader,
                ):
                    while self.exchange(sock, reader) and not self.done.is_set():
                        pass
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))

    def exchange(self, sock, reader):
        """Send a request, read the answer; return whether the connection stays. Raise ValueError for half an answer."""
        sock.sendall(REQUEST)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()
            if not line:
                raise ValueError("no answer, or half of one")
            head += line
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        if not head.startswith(b"HTTP/1.1 200 ") or len(reader.read(length)) < length:
            raise ValueError("not the answer")
        self.answered += 1
        return b"Connection: close" not in head


def wait_until(condition):
    """Return the seconds until *condition()* is true, at most 20."""
    began = time.monotonic()
    while not condition() and time.monotonic() < began + 20:
        time.sleep(0.01)
    return time.monotonic() - began


def reloads_under_load(seconds):
    with Server(4) as server, Load(server) as load:
        reloads, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            server.process.send_signal(signal.SIGHUP)
            reloads += 1
            time.sleep(2)
    failed = len(load.failures)
    return not failed, f"{reloads} reloads in {seconds} s: {load.answered} answered, {failed} failed"


def kills_under_load(seconds):
    """A client has one connection, so that with each kill at most as many fail as there are clients."""
    clients, slowest, kills, held = 8, 0.0, 0, 0
    with Server(4) as server, Load(server, clients) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            victim = random.choice(server.workers())
            held += connections(victim)
            os.kill(victim, signal.SIGKILL)
            kills += 1
            slowest = max(
                slowest,
                wait_until(lambda: victim not in (now := server.workers()) and len(now) == 4),  # noqa: B023
            )
            time.sleep(1)
    failed = len(load.failures)
    text = (
        f"{kills} workers killed in {seconds} s: {load.answered} answered, {failed} failed of {held} connections held"
    )
    return failed <= held and slowest < 1, f"{text}; four again after {slowest:.2f} s at most"


def connections(pid):
    """Return how many sockets *pid* has open beside the listening one."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except OSError:
            pass  # closed while we looked
    return sum(link.startswith("socket:") for link in links) - 1


def hundred_reloads():
    with Server(2) as server:
        before = None
        for number in range(100):
            old = set(server.workers())
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: not old & set(now := server.workers()) and len(now) == 2)  # noqa: B023
            if number == 9:
                before = server.belongings()
        after = server.belongings()
    flat = before[:2] == after[:2] and after[2] - before[2] < 1
    return flat, f"100 reloads: descriptors, threads, MiB of the master {before} after 10, {after} after 100"


def spread(*options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "access.log"
        with Server(4, "--access-log", str(path)) as server:
            time.sleep(1)  # a second sweep: every worker is in its loop
            url = f"http://127.0.0.1:{server.port}/index.html"
            output = subprocess.run(
                ["ab", "-q", "-n", "20000", "-c", "64", *options, url], capture_output=True, text=True
            )
        failed = int(re.search(r"Failed requests:\s+(\d+)", output.stdout)[1])
        counts = sorted(collections.Counter(line.split()[-2] for line in path.read_text().splitlines()).values())
    ratio = counts[-1] / counts[0]
    kind = "keep-alive" if options else "a connection each"
    return (
        not failed and len(counts) == 4 and ratio <= 1.5,
        f"20,000 requests, {kind}: {counts} by worker, {ratio:.2f} times the least; {failed} failed",
    )


def main():
    parser = argparse.ArgumentParser(description="Reloads, kills and the spread of work, under load.")
    parser.add_argument("--seconds", type=int, default=60, help="length of the first two (default: %(default)s)")
    seconds = parser.parse_args().seconds
    good = True
    for drill in (
        lambda: spread("-k"),
        spread,
        lambda: reloads_under_load(seconds),
        lambda: kills_under_load(seconds),
        hundred_reloads,
    ):
        passed, text = drill()
        good = good and passed
        print("ok    " if passed else "FAILED", text, flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()

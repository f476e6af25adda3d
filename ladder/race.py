"""Race the rungs: each one under the same load, on loopback only, with limits on time and clients.

Each measurement starts a fresh server, connects its clients, lets them ask for a while, and stops the server.
A client asks, waits for the whole answer, and asks again. One Python process plays all clients and shares the cores
with the server. So compare the rungs with each other; no number here is the speed of a server.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ladder import HERE, RUNGS

try:
    import psutil
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ladder import picture
except ModuleNotFoundError as error:
    sys.exit(f"ladder race: no module {error.name}; install what it draws with: pip install matplotlib psutil rich")

SMALL, BIG = 64, 262144  # bytes of a message
COUNTS = (1, 4, 16, 64, 256, 1024)  # of clients that ask
RACERS = [number for number in RUNGS if number != 3]  # rung 3 serves nobody


@dataclass(frozen=True)
class Load:
    """*asking* clients send messages of *size* bytes, after *idle* and *slow* others have connected."""

    name: str
    asking: int
    size: int = SMALL
    idle: int = 0  # connected and silent
    slow: int = 0  # send one byte of a message every 50 ms
    meaning: str = ""  # what makes it hard, for the reader of the table


CROWDS = (
    Load("idle", 4, idle=100, meaning="4 clients ask, while 100 others are connected and silent"),
    Load("slow", 4, slow=10, meaning="4 clients ask, while 10 others send one byte of a message every 50 ms"),
    Load("big", 4, size=BIG, meaning="4 clients ask with messages of 256 KiB instead of 64 bytes"),
)


@dataclass(frozen=True)
class Result:
    served: int  # of the asking clients: those that got any answer
    rate: float  # answers a second
    wait: float  # seconds for one answer, on average; 95 of 100 clients waited no longer
    memory: float  # bytes of all processes of the server; shared pages counted once


class Client(asyncio.Protocol):
    """One connection to the server. Silent until ask()."""

    def __init__(self, message, answer_size):
        self.message, self.answer_size = message, answer_size
        self.answers = 0

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        self.missing = self.answer_size
        self.transport.write(self.message)

    async def ask_slowly(self):
        for byte in itertools.cycle(self.message):
            self.transport.write(bytes([byte]))
            await asyncio.sleep(0.05)

    def data_received(self, data):
        if self.answer_size:
            self.missing -= len(data)
            if self.missing == 0:
                self.answers += 1
                self.ask()


def command(number, port, folder):
    """Return how to start a rung. The last two get one worker for each core."""
    options = {
        10: ["-r", folder],
        11: ["-r", folder, "-w", str(os.cpu_count())],
        12: ["echo_app:application", "-w", str(os.cpu_count())],
    }
    return [
        *(sys.executable, str(RUNGS[number]), "--host", "127.0.0.1", "--port", str(port), "--log", "error"),
        *options.get(number, []),
    ]


def message(number, size):
    """Return what a client sends. Those that serve files are asked for one of that size: half of an echo."""
    body = b"x" * (size - 1) + b"\n"
    match number:
        case 10 | 11:
            return f"GET /{size} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        case 12:
            return f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode() + body
        case _:
            return body


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class NotStarted(Exception):
    """A server did not start. The text is the last line that it printed."""


@contextlib.contextmanager
def server(number, folder):
    """Run a rung in a process group of its own; yield its port and process. At the end the whole group is stopped."""
    port = free_port()
    with open(Path(folder, "stderr"), "wb+") as stderr:
        process = subprocess.Popen(
            command(number, port, folder),
            cwd=HERE,  # where echo_app is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            process_group=0,
        )
        try:
            wait_until_it_listens(process, port)
            yield port, psutil.Process(process.pid)
        except ConnectionRefusedError:
            stderr.seek(0)
            said = stderr.read().decode().splitlines()
            raise NotStarted(said[-1] if said else "it printed nothing") from None
        finally:
            stop(process)


def wait_until_it_listens(process, port):
    """Return when the port accepts; raise ConnectionRefusedError if the server has ended, or after 5 s."""
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def stop(process):
    try:
        process.send_signal(signal.SIGINT)
        process.wait(3)
    except subprocess.TimeoutExpired:
        pass  # killed below, with all of its group
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answer_size(port, question):
    """Ask once, and return the size of the answer in bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile("rb") as answer:
        connection.sendall(question)
        if b" HTTP/1.1\r\n" not in question:
            return len(answer.readline())
        head = b"".join(iter(answer.readline, b"\r\n")) + b"\r\n"
        (size,) = (int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length"))
        return len(head) + size


async def connect(port, count, question, expected):
    """Return up to *count* clients: those that the system connected within two seconds."""
    loop = asyncio.get_running_loop()
    clients = [Client(question, expected) for _ in range(count)]
    if count:
        tasks = [asyncio.ensure_future(loop.create_connection(lambda c=c: c, "127.0.0.1", port)) for c in clients]
        _, late = await asyncio.wait(tasks, timeout=2)
        for task in late:
            task.cancel()
    return [client for client in clients if hasattr(client, "transport")]


def memory(process):
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            info = one.memory_full_info()
            total += getattr(info, "pss", info.rss)  # only Linux counts shared pages once
    return total


async def measure(load, port, process, question, expected, span):
    crowd = await connect(port, load.idle + load.slow, question, None)
    slow = [asyncio.ensure_future(client.ask_slowly()) for client in crowd[: load.slow]]
    clients = await connect(port, load.asking, question, expected)
    await asyncio.sleep(0.05 + len(clients) * 3e-4)  # let the server accept them in peace
    start = time.perf_counter()
    for client in clients:
        client.ask()
    await asyncio.sleep(span)
    elapsed = time.perf_counter() - start
    answers = sorted(client.answers for client in clients)
    used = memory(process)
    for task in slow:
        task.cancel()
    for client in crowd + clients:
        client.transport.abort()
    unlucky = answers[len(answers) // 20] if answers else 0
    return Result(sum(map(bool, answers)), sum(answers) / elapsed, elapsed / max(unlucky, 1), used)


def race(racers, loads, span, limit):
    """Return {(rung, load): Result}. Measurements for which *limit* seconds leave no time are missing."""
    results = {}
    deadline = time.monotonic() + limit
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns) as progress:
        for size in (SMALL, BIG):
            Path(folder, str(size)).write_bytes(b"x" * size)
        bar = progress.add_task("", total=len(loads) * len(racers))
        for load, number in itertools.product(loads, racers):
            if time.monotonic() + span + 4 > deadline:  # what a slow one takes to start and stop
                break
            progress.update(bar, description=f"{RUNGS[number].stem}, load: {load.name}")
            question = message(number, load.size)
            try:
                with server(number, folder) as (port, process):
                    expected = answer_size(port, question)
                    results[number, load] = asyncio.run(measure(load, port, process, question, expected, span))
            except NotStarted as error:
                progress.print(f"{RUNGS[number].name} did not start: {error}")
            progress.advance(bar)
    return results


def affordable(counts):
    """Return the counts for which this process may have enough descriptors; raise its limit first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return [count for count in counts if count + 200 < max(soft, most)]


def parse_args(options):
    parser = argparse.ArgumentParser(prog="python -m ladder race", description=__doc__.splitlines()[0])
    parser.add_argument("--rungs", type=int, nargs="+", choices=RACERS, default=RACERS, metavar="N")
    parser.add_argument("--clients", type=int, nargs="+", default=COUNTS, metavar="N", help="counts (%(default)s)")
    parser.add_argument("--span", type=float, default=0.6, help="seconds of each measurement (%(default)s)")
    parser.add_argument(
        "--limit", type=float, default=110, help="seconds after which no measurement begins (%(default)s)"
    )
    parser.add_argument("--png", default="ladder-race.png", help="the picture's file (%(default)s)")
    return parser.parse_args(options)


def main(options):
    args = parse_args(options)
    # A shell starts background jobs with SIGINT ignored, and the servers would inherit that.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    counts = affordable(sorted(set(args.clients)))
    many = [Load(str(count), count) for count in counts]
    try:
        results = race(args.rungs, [*many, *CROWDS], args.span, args.limit)
    except KeyboardInterrupt:
        sys.exit("ladder race: stopped, together with every server")
    picture.draw(args.png, args.rungs, many, CROWDS, results)
    picture.show(args.rungs, many, CROWDS, results)
    print(f"\nThe picture: {args.png}")
    for count in set(args.clients) - set(counts):
        print(f"Left out: {count} clients, since there are too few descriptors (ulimit -n)")
    if len(results) < len(args.rungs) * (len(many) + len(CROWDS)):
        print(f"Some measurements are missing: time was up (--limit {args.limit:g}), or a server did not start")

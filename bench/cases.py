"""The cases: what is asked of a server, and the figures that come out.

A case is a function that gets a Trial, starts the server with trial.launch() and returns {key: figure}; it
raises Failed when the server gets it wrong and NotOffered when it has no such feature.
"""

import functools
import http.client
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import apps
import clients
import measure
from measure import Failed, NotOffered, check, costed, warm_up

KIB, MIB, GIB = 1024, 1024**2, 1024**3
LARGE = 256 * MIB
SIZES = {"1k.txt": KIB, "100k.txt": 100 * KIB, "1m.txt": MIB}
IDLE = (100, 1000, 10000)
# With Host, which wrk adds, nine fields and a cookie.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Connection": "keep-alive",
    "Upgrade-Insecure-Requests": "1",
    "Cache-Control": "max-age=0",
    "Referer": "http://127.0.0.1:9000/start",
    "Cookie": "session=6f1d0c8e9b7a45e2a3c4d5e6f7081920; theme=dark; consent=2026-11-30T07%3A12%3A00Z",
}


def make_root(root):
    """Put the files that are served into the folder *root*."""
    for name, size in SIZES.items():
        Path(root, name).write_bytes(file_bytes(size))
    with open(Path(root, "256m.bin"), "wb") as large:
        for _ in range(LARGE // MIB):
            large.write(file_bytes(MIB))


def file_bytes(size):
    return (b"0123456789abcdefghijklmnopqrstu\n" * (size // 32 + 1))[:size]


@dataclass
class Trial:
    """One server in one case of one round."""

    server: object
    root: Path
    seconds: int  # of load

    @property
    def small(self):
        """Path and body of the smallest answer."""
        return ("/hello", apps.HELLO) if self.server.kind == "wsgi" else ("/1k.txt", file_bytes(KIB))

    def launch(self, **options):
        return measure.launch(self.server, self.root, self.small[0], **options)


# --- requests/s and what they cost -----------------------------------------------------------------------------


def keep_alive(path, body, connections=64, post=0, method="GET", headers=None, many=0, **options):
    """Many requests over few connections: the answer to *path* is *body*. With *many*, as so many clients."""
    send = b"u" * post if post else None

    def run(trial):
        with trial.launch(**options) as running:
            check(running, path, body, method=method, headers=headers, send=send)
            warm_up(running, path if not post else "/hello")
            load = functools.partial(measure.wrk, headers=headers, post=post, clients=many)
            return costed(running, lambda: load(running, path, connections, trial.seconds, len(body)))

    return run


def connection_each(path, body):
    """A connection for each request, as ab does without -k."""

    def run(trial):
        with trial.launch() as running:
            check(running, path, body, keep_alive=False)
            measure.ab(running, path, 64, 1)
            return costed(running, lambda: measure.ab(running, path, 64, trial.seconds))

    return run


def streamed(trial):
    """An answer of 100 pieces whose length the application does not tell; closing at its end is allowed."""
    with trial.launch() as running:
        check(running, "/stream", apps.STREAM, keep_alive=False)
        warm_up(running, "/stream")
        return costed(running, lambda: measure.wrk(running, "/stream", 64, trial.seconds, len(apps.STREAM)))


def not_modified(trial):
    with trial.launch() as running:
        found = first_answer(running, "/1k.txt")
        if found.getheader("ETag"):
            headers = BROWSER | {"If-None-Match": found.getheader("ETag")}
        elif found.getheader("Last-Modified"):
            headers = BROWSER | {"If-Modified-Since": found.getheader("Last-Modified")}
        else:
            raise NotOffered("no validators")
        if first_answer(running, "/1k.txt", headers).status == 200:
            raise NotOffered("no conditional requests")
        check(running, "/1k.txt", b"", headers=headers, status=304)
        return costed(running, lambda: measure.wrk(running, "/1k.txt", 64, trial.seconds, 0, headers=headers))


def ranges(trial):
    headers = {"Range": "bytes=1000-1999"}
    with trial.launch() as running:
        if first_answer(running, "/100k.txt", headers).status == 200:
            raise NotOffered("no ranges")
        body = file_bytes(100 * KIB)[1000:2000]
        check(running, "/100k.txt", body, headers=headers, status=206)
        return costed(running, lambda: measure.wrk(running, "/100k.txt", 64, trial.seconds, 1000, headers=headers))


def first_answer(running, path, headers=None):
    """Return the response to a GET; its body is read and gone."""
    try:
        with closing(running.connect()) as connection:
            connection.request("GET", running.path(path), headers=headers or {})
            response = connection.getresponse()
            response.read()
            return response
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"GET {path}: {type(error).__name__}") from error


def large_file(trial):
    """One reader of 256 MiB, again and again; at least 1 GiB, as CPU time comes in steps of 10 ms."""
    with trial.launch() as running:
        clients.download(running.port, running.path("/256m.bin"), LARGE)
        before, started, rounds = running.cpu(), time.perf_counter(), 0
        while rounds < 4 or time.perf_counter() - started < trial.seconds:
            clients.download(running.port, running.path("/256m.bin"), LARGE)
            rounds += 1
        seconds = time.perf_counter() - started
        gib = rounds * LARGE / GIB
        return {"cpu_per_gib": (running.cpu() - before) / gib, "gib_rate": gib / seconds}


# --- connections that wait -------------------------------------------------------------------------------------


def idle(trial):
    """Eight busy connections beside 100, 1000 and 10,000 that have had an answer and keep still.

    Each number has a server of its own, and their loads take turns, since a machine's speed changes within seconds.
    """
    path, body = trial.small
    with ExitStack() as stack:
        beside = {}
        for count in IDLE:
            running = stack.enter_context(trial.launch())
            check(running, path, body)
            warm_up(running, path)
            fleet = clients.IdleConnections(running.port, running.path(path), count)
            beside[count] = running, stack.enter_context(fleet)
        seconds = max(1, trial.seconds // 2)
        there = {count: cpu_beside(*beside[count], path, body, seconds) for count in IDLE}
        back = {count: cpu_beside(*beside[count], path, body, seconds) for count in reversed(IDLE)}
        pss = {count: running.pss() for count, (running, _) in beside.items()}
    cpu = {count: (there[count] + back[count]) / 2 for count in IDLE}
    fewest, most = IDLE[0], IDLE[-1]
    return {
        "growth": cpu[most] / cpu[fewest],
        "memory": (pss[most] - pss[fewest]) / (most - fewest) / 1000,
        **{f"cpu_{count}": seconds for count, seconds in cpu.items()},
    }


def cpu_beside(running, fleet, path, body, seconds):
    """Return the CPU seconds of 1000 requests over eight connections beside the idle ones of *fleet*."""
    load = costed(running, lambda: measure.wrk(running, path, 8, seconds, len(body)))
    if "cpu" not in load:
        raise Failed(f"answered too little to measure beside {fleet.count} idle connections")
    if lost := fleet.lost():
        raise Failed(f"closed {lost} of {fleet.count} idle connections")
    return load["cpu"]


def slow_readers(trial):
    """200 clients trickle a generated 10 MiB, others ask for /hello meanwhile; then the 200 read to the end."""
    size = len(apps.SLOW_PIECE) * apps.SLOW_PIECES
    with trial.launch() as running:
        warm_up(running, "/hello")
        before = largest = running.rss()
        with clients.slow_readers(running.port, running.path("/slow"), 200) as readers:
            waits = []
            for _ in range(max(6, 2 * trial.seconds)):
                waits += answer_times(running, 0.5)
                for reader in readers:
                    reader.read(4096)
                largest = max(largest, running.rss())
            clients.finish(readers, 15)
            largest = max(largest, running.rss())
            served = sum(reader.received > size for reader in readers)
    if served < len(readers):
        raise Failed(f"{served} of {len(readers)} slow readers served")
    return {"rss_growth": (largest - before) / 1e6, "others_p50": statistics.median(waits) * 1000}


def answer_times(running, seconds):
    """Ask for /hello for some *seconds*, a connection each; return how long each answer took, 2 s if it never came."""
    stop, waits = time.monotonic() + seconds, []
    while time.monotonic() < stop:
        started = time.perf_counter()
        try:
            with closing(running.connect(timeout=2)) as connection:
                connection.request("GET", "/hello")
                connection.getresponse().read()
            waits.append(time.perf_counter() - started)
        except (OSError, http.client.HTTPException):
            waits.append(2.0)
        time.sleep(0.005)
    return waits


# --- workers, threads, start -----------------------------------------------------------------------------------


def sleeping(**options):
    """16 connections to an application that sleeps 50 ms."""

    def run(trial):
        with trial.launch(**options) as running:
            check(running, "/sleep", apps.HELLO, keep_alive=False)
            return costed(running, lambda: measure.wrk(running, "/sleep", 16, trial.seconds + 1, len(apps.HELLO)))

    return run


def two_workers(trial):
    """An application that computes for a millisecond, with one worker and with two, on all cores."""
    if len(measure.CORES) < 2:
        raise NotOffered("one core only")
    rates = {}
    for workers in (1, 2):
        with trial.launch(workers=workers, cores=measure.CORES) as running:
            check(running, "/work", apps.HELLO, keep_alive=False)
            before = measure.cpu_seconds(running.session)
            load = measure.wrk(running, "/work", 16, trial.seconds, len(apps.HELLO))
            after = measure.cpu_seconds(running.session)
            rates[workers] = load["requests"] / load["seconds"]
    spent = [seconds - before.get(pid, 0) for pid, seconds in after.items()]
    return {"scaling": rates[2] / rates[1], "busiest": 100 * max(spent) / sum(spent)}


def start(trial):
    with trial.launch() as running:
        return {"start": running.seconds_to_start * 1000}


def four_workers_memory(trial):
    with trial.launch(workers=4) as running:
        # Enough connections at once to give every worker something to do.
        measure.ab(running, trial.small[0], 16, 1)
        return {"pss": running.pss() / 1e6}


# --- the list --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A column."""

    key: str
    title: str
    digits: int
    higher_is_better: bool = False


@dataclass(frozen=True, eq=False)  # eq=False: a key of dicts by what it is, lists and all
class Case:
    name: str
    title: str
    kind: str  # "wsgi" or "files"
    run: Callable[[Trial], dict]
    figures: list[Figure]
    tags: frozenset = field(default_factory=frozenset)
    quick: bool = True  # part of --quick


def load_figures(digits=4):
    return [
        Figure("cpu", "CPU s per 1000 requests", digits),
        Figure("rate", "requests/s", 0, higher_is_better=True),
        Figure("p99", "p99 ms", 2),
    ]


IDLE_FIGURES = [
    Figure("growth", "CPU per request, 10,000 idle / 100 idle", 2),
    Figure("memory", "kB per idle connection", 1),
    *(Figure(f"cpu_{count}", f"CPU s per 1000, {count:,} idle", 4) for count in IDLE),
]
START_FIGURES = [Figure("start", "ms", 0)]
BOTH = frozenset({"floor", "log"})
ONLY_FLOOR = frozenset({"floor"})
TLS = frozenset({"tls"})

CASES = [
    Case(
        "hello", "WSGI hello, keep-alive, 64 connections", "wsgi",
        keep_alive("/hello", apps.HELLO), load_figures(), BOTH,
    ),
    Case(
        "hello-browser", "WSGI hello, a browser's nine fields and a cookie", "wsgi",
        keep_alive("/hello", apps.HELLO, headers=BROWSER), load_figures(),
    ),
    Case(
        "hello-clients", "WSGI hello, the same of 64 clients with their own cookies, 16 paths", "wsgi",
        keep_alive("/hello", apps.HELLO, headers=BROWSER, many=64), load_figures(), quick=False,
    ),
    Case(
        "hello-close", "WSGI hello, a connection each (ab)", "wsgi",
        connection_each("/hello", apps.HELLO), load_figures()[:2], BOTH,
    ),
    Case("json", "WSGI, JSON of 10 KiB, keep-alive", "wsgi", keep_alive("/json", apps.JSON), load_figures()),
    Case(
        "json-threads", "WSGI, JSON of 10 KiB, 8 threads, 64 connections", "wsgi",
        keep_alive("/json", apps.JSON, threads=8), load_figures(), quick=False,
    ),
    Case("stream", "WSGI, 100 streamed pieces of 1 KiB", "wsgi", streamed, load_figures(3), quick=False),
    Case(
        "upload", "WSGI, 1 MiB uploaded and echoed, 8 connections", "wsgi",
        keep_alive("/upload", b"u" * MIB, connections=8, post=MIB, method="POST"), load_figures(3), quick=False,
    ),
    Case(
        "file-1k", "file of 1 KiB, keep-alive", "files",
        keep_alive("/1k.txt", file_bytes(KIB)), load_figures(), BOTH, quick=False,
    ),
    Case(
        "file-1k-browser", "file of 1 KiB, a browser's nine fields and a cookie", "files",
        keep_alive("/1k.txt", file_bytes(KIB), headers=BROWSER), load_figures(), BOTH,
    ),
    Case(
        "file-1k-close", "file of 1 KiB, a connection each (ab)", "files",
        connection_each("/1k.txt", file_bytes(KIB)), load_figures()[:2], BOTH, quick=False,
    ),
    Case(
        "file-100k", "file of 100 KiB, keep-alive", "files",
        keep_alive("/100k.txt", file_bytes(100 * KIB)), load_figures(), ONLY_FLOOR,
    ),
    Case(
        "file-256m", "file of 256 MiB, one reader", "files", large_file,
        [Figure("cpu_per_gib", "CPU s per GiB", 3), Figure("gib_rate", "GiB/s", 2, higher_is_better=True)],
        ONLY_FLOOR,
    ),
    Case("not-modified", "file of 1 KiB, a browser's fields, answered 304", "files", not_modified, load_figures()),
    Case(
        "range", "1000 bytes out of a file of 100 KiB, keep-alive", "files", ranges, load_figures(), quick=False
    ),
    Case("idle", "10,000 idle connections, 8 busy, WSGI hello", "wsgi", idle, IDLE_FIGURES, ONLY_FLOOR, quick=False),
    Case(
        "idle-files", "10,000 idle connections, 8 busy, file of 1 KiB", "files", idle, IDLE_FIGURES, ONLY_FLOOR,
        quick=False,
    ),
    Case(
        "tls-hello", "WSGI hello over TLS, keep-alive, 64 connections", "wsgi",
        keep_alive("/hello", apps.HELLO, tls=True), load_figures(), TLS, quick=False,
    ),
    Case(
        "tls-1m", "WSGI, 1 MiB over TLS, 8 connections", "wsgi",
        keep_alive("/mebibyte", apps.mebibyte_body(), connections=8, tls=True), load_figures(3), TLS, quick=False,
    ),
    Case(
        "tls-file-1k", "file of 1 KiB over TLS, keep-alive", "files",
        keep_alive("/1k.txt", file_bytes(KIB), tls=True), load_figures(), TLS, quick=False,
    ),
    Case(
        "tls-file-1m", "file of 1 MiB over TLS, 8 connections", "files",
        keep_alive("/1m.txt", file_bytes(MIB), connections=8, tls=True), load_figures(3), TLS, quick=False,
    ),
    Case(
        "slow-readers", "200 slow readers of a generated 10 MiB", "wsgi", slow_readers,
        [Figure("rss_growth", "RSS growth MB", 1), Figure("others_p50", "others' p50 ms", 2)], quick=False,
    ),
    Case(
        "sleep-workers", "application that sleeps 50 ms, 16 connections, 4 workers (limit 80/s)", "wsgi",
        sleeping(workers=4),
        [Figure("rate", "requests/s", 0, higher_is_better=True), Figure("p99", "p99 ms", 0)], quick=False,
    ),
    Case(
        "sleep-threads", "application that sleeps 50 ms, 16 connections, 16 threads (limit 320/s)", "wsgi",
        sleeping(threads=16),
        [Figure("rate", "requests/s", 0, higher_is_better=True), Figure("p99", "p99 ms", 0)], quick=False,
    ),
    Case(
        "two-workers", "two workers over one, an application that computes for 1 ms", "wsgi", two_workers,
        [Figure("scaling", "requests/s, two workers / one", 2, higher_is_better=True),
         Figure("busiest", "busiest worker %", 0)],
        quick=False,
    ),
    Case("start", "start to the first 200, WSGI", "wsgi", start, START_FIGURES, ONLY_FLOOR),
    Case("start-files", "start to the first 200, files", "files", start, START_FIGURES, ONLY_FLOOR, quick=False),
    Case("memory", "PSS of four workers, WSGI", "wsgi", four_workers_memory, [Figure("pss", "MB in all", 1)]),
]  # fmt: skip

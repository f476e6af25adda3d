"""Start a server, put load on it, and read from /proc what that cost.

Everything a server forks is found by its session, which the server's start opens: CPU and memory are those of
all its processes, and at the end none of them is left.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import servers

TICK = os.sysconf("SC_CLK_TCK")  # per second
# Bytecode is written, whatever this shell says: what pip has installed comes with it, and so start-up compares.
ENVIRONMENT = {"PYTHONPATH": str(servers.BENCH), "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": ""}
# Two cores apart, where there are two: one for the server, one for the load.
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
START_TIMEOUT = 15.0  # seconds until the first 200
TRUSTING = ssl._create_unverified_context()  # of a certificate that nobody vouches for


class Failed(Exception):
    """The server did not do what the case asks for: no figure."""


class NotOffered(Exception):
    """The server has no such feature: nothing to measure."""


# --- /proc ---------------------------------------------------------------------------------------------------


def session_processes(session):
    """Yield (pid, fields of /proc/PID/stat from the state on) of each process of the *session*."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name in brackets may hold anything, a bracket too.
            fields = Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session:
                yield int(pid), fields


def cpu_seconds(session):
    """Return CPU seconds of each process, {pid: seconds}, with those of its children that have ended."""
    return {pid: sum(map(int, fields[11:15])) / TICK for pid, fields in session_processes(session)}


def memory(session):
    """Return (RSS, PSS) in bytes of all processes of the *session* together."""
    rss = pss = 0
    for pid, _fields in session_processes(session):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()[1:]:
                name, value, *_unit = line.split()
                rss += int(value) * 1024 * (name == "Rss:")
                pss += int(value) * 1024 * (name == "Pss:")
    return rss, pss


def kill(session):
    """Kill every process of the *session*; a fork may be under way, so look until none is left."""
    while pids := [pid for pid, fields in session_processes(session) if fields[0] != b"Z"]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


# --- a running server ----------------------------------------------------------------------------------------


class Running:
    """A server that has answered its first request; *seconds_to_start* from its start to that."""

    def __init__(self, server, port, session, seconds_to_start, tls):
        self.server, self.port, self.session, self.tls = server, port, session, tls
        self.seconds_to_start = seconds_to_start

    def path(self, path):
        return self.server.prefix + path

    def url(self, path):
        return f"http{'s' * self.tls}://127.0.0.1:{self.port}{self.path(path)}"

    def cpu(self):
        return sum(cpu_seconds(self.session).values())

    def rss(self):
        return memory(self.session)[0]

    def pss(self):
        return memory(self.session)[1]

    def connect(self, timeout=5.0):
        return connection_to(self.port, self.tls, timeout)


def connection_to(port, tls, timeout):
    if tls:
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=TRUSTING)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)


@contextlib.contextmanager
def launch(server, root, first_path, workers=1, threads=0, cores=(SERVER_CORE,), tls=False):
    """Run *server* on *cores* for the length of a with block.

    Raise NotOffered where it has no workers or threads to ask for, Failed when it does not answer in time.
    """
    if (workers > 1 and not server.workers) or (threads and not server.threads):
        raise NotOffered("one process only" if workers > 1 else "no choice of threads")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        start = servers.Start(free_port(), workers, threads, root, Path(scratch), tls)
        if tls:
            servers.make_certificate(start.scratch)
        command = list(map(str, server.command(start)))
        with open(Path(scratch, "output"), "w+b") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=servers.BENCH,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            try:
                wait_until_it_answers(process, start, server.prefix + first_path, output)
                yield Running(server, start.port, process.pid, time.perf_counter() - started, tls)
            finally:
                kill(process.pid)
                process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(process, start, path, output):
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"did not start: {last_words(output)}")
        try:
            connection = connection_to(start.port, start.tls, START_TIMEOUT)
            with contextlib.closing(connection):
                connection.request("GET", path)
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            time.sleep(0.001)
            continue
        if status == 200:
            return
        raise Failed(f"answered its first request with {status}")
    raise Failed(f"no answer within {START_TIMEOUT:.0f} s of its start")


def last_words(output):
    """Return the last line that a server wrote, without the folders of this machine."""
    output.seek(0)
    lines = output.read().decode(errors="replace").split("\n")
    line = next((line for line in reversed(lines) if line.strip()), "no word")
    return re.sub(r"/[\w./-]+/", "", line).strip()[-200:]


# --- load ----------------------------------------------------------------------------------------------------


def check(running, path, body, method="GET", headers=None, send=None, status=200, keep_alive=True):
    """Ask twice on one connection for what the load will ask for, and compare every byte with *body*."""
    connection = running.connect()
    with contextlib.closing(connection):
        for _ in range(2):
            try:
                connection.request(method, running.path(path), body=send, headers=headers or {})
                response = connection.getresponse()
                received = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise Failed(f"{method} {path}: {type(error).__name__}") from error
            if response.status != status:
                raise Failed(f"{method} {path}: {response.status} instead of {status}")
            if received != body:
                raise Failed(f"{method} {path}: {len(received)} bytes, not the {len(body)} expected")
            if keep_alive and connection.sock is None:
                raise NotOffered("no keep-alive here")


def wrk(running, path, connections, seconds, size, headers=None, post=0, clients=0):
    """Load with keep-alive connections; return wrk's summary.

    size -- bytes of each answer's body at least; less in all means that answers were cut short
    post -- bytes to send with each request
    clients -- as how many clients to ask, each with its own User-Agent and cookie, for 16 paths in turn (wrk.lua)
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", servers.BENCH / "wrk.lua"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    command += [running.url(path), "--", str(post), str(clients)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"^SUMMARY (.*)$", result.stdout, re.MULTILINE)
    if not found:
        raise Failed(f"wrk: {(result.stdout + result.stderr).strip().splitlines()[-1:]}")
    summary = json.loads(found[1])
    wrong = {name: count for name, count in summary["errors"].items() if count}
    if wrong:
        counts = ", ".join(f"{count} {'non-2xx' if name == 'status' else name}" for name, count in wrong.items())
        raise Failed(f"of {summary['requests']} requests failed: {counts}")
    if not summary["requests"]:
        raise Failed("no request answered")
    if summary["bytes"] < summary["requests"] * size:
        raise Failed(f"{summary['bytes']} bytes are too few for {summary['requests']} answers")
    return summary


def ab(running, path, connections, seconds):
    """Load with a connection each; return {"requests", "seconds"}."""
    command = ["ab", "-q", "-r", "-c", str(connections), "-t", str(seconds), "-n", "200000", "-s", "5"]
    command += [running.url(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if result.returncode:
        raise Failed(f"ab: {result.stderr.strip().splitlines()[-1:]}")

    def number(label):
        found = re.search(rf"^{label}: +([0-9.]+)", result.stdout, re.MULTILINE)
        return float(found[1]) if found else 0

    requests = int(number("Complete requests"))
    for label in ("Failed requests", "Write errors", "Non-2xx responses"):
        if number(label):
            raise Failed(f"of {requests} requests failed: {number(label):.0f} ({label})")
    if not requests:
        raise Failed("no request answered")
    return {"requests": requests, "seconds": number("Time taken for tests")}


def costed(running, load):
    """Call load(), which returns at least {"requests", "seconds"}; return the figures every load has."""
    before = running.cpu()
    summary = load()
    cpu = running.cpu() - before
    figures = {"rate": summary["requests"] / summary["seconds"]}
    if cpu >= 10 / TICK:  # fewer ticks than that tell nothing
        figures["cpu"] = cpu / summary["requests"] * 1000
    if "p50" in summary:
        figures |= {"p50": summary["p50"], "p99": summary["p99"]}
    return figures


def warm_up(running, path, seconds=0.2):
    """Let a server import and cache what it does at its first requests."""
    stop = time.monotonic() + seconds
    connection = running.connect()
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        while time.monotonic() < stop:
            connection.request("GET", running.path(path))
            connection.getresponse().read()


def spread(values):
    """Return (median, min, max)."""
    return statistics.median(values), min(values), max(values)

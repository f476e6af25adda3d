"""What breaks around a server, and what its other clients notice: a drill for each fault, with a bystander.

    python bench/faults.py [--short] [--only NAME] [--checkout FOLDER]

During each drill a bystander asks every 20 ms on a connection of its own. Its failures and its slowest answer are part
of the verdict. Prints a table, and exits with 1 if a drill has failed. Uses loopback only; Linux.
"""

import argparse
import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
PATIENCE = 20.0  # seconds after which whatever a drill waits for will not come
HEAD = b"Host: a\r\n"


class Failed(Exception):
    """What a drill has found."""


def takes_option(checkout, option):
    """Tell whether the server of *checkout* knows *option*: an older one is tried without it."""
    command = [sys.executable, str(checkout / "async_wsgi.py"), "--help"]
    return option in subprocess.run(command, capture_output=True, text=True).stdout


def until(condition, what, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"no {what} within {patience:g} s")
        time.sleep(0.02)
    return result


class Server:
    """async_wsgi.py with a copy of the application in a folder of its own, for the length of a `with` block."""

    def __init__(self, checkout, *options, program="async_wsgi.py", **popen):
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(BENCH / "fault_app.py", self.folder)
        command = [sys.executable, "-W", "ignore", str(checkout / program), "--port", "0", *map(str, options)]
        if program == "async_wsgi.py":
            command.append("fault_app")
        self.log = self.folder / "log"
        popen = {"stderr": self.log.open("wb"), **popen}
        self.process = subprocess.Popen(command, cwd=self.folder, start_new_session=True, **popen)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder)

    def started(self):
        self.port = int(until(lambda: re.search(rb"http://[^ ]*:(\d+)/ ", self.log.read_bytes()), "start")[1])
        return self

    def lines(self, text):
        return [line for line in self.log.read_text("utf-8", "replace").splitlines() if text in line]

    def workers(self):
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def release(self, version):
        """Change the application, as a new release of it does."""
        path = self.folder / "fault_app.py"
        new = self.folder / "new"
        new.write_text(re.sub(r'VERSION = "\d+"', f'VERSION = "{version}"', path.read_text()))
        new.replace(path)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def client(self):
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return sock

    def ask(self, path="/", method=b"GET", body=b""):
        """Return (status, body) of the answer on a connection of its own; raise OSError or ValueError."""
        with self.client() as sock:
            return exchange(sock, path, method, body)


def exchange(sock, path="/", method=b"GET", body=b""):
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    sock.sendall(method + b" " + path.encode() + b" HTTP/1.1\r\n" + HEAD + length + b"\r\n" + body)
    return read_answer(sock)


def read_answer(sock):
    head, body = read_message(sock)
    return int(head[9:12]), body


def read_message(sock):
    with sock.makefile("rb") as reader:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := reader.readline()):
                raise ValueError("no answer")
            head += line
        if match := re.search(rb"content-length: (\d+)", head.lower()):
            body = reader.read(int(match[1]))
        else:
            body = b""
            while size := int(reader.readline() or b"-1", 16):
                if size < 0:
                    raise ValueError("half an answer")
                body += reader.read(size + 2)[:-2]
            reader.readline()
        return head, body


class Bystander:
    """Asks every 20 ms on a kept connection, and makes a new one when it is told to close. Nothing is tried twice."""

    def __init__(self, server, path="/"):
        self.server, self.path, self.failures, self.times = server, path, [], []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def run(self):
        sock = None
        while not self.done.wait(0.02):
            began = time.monotonic()
            try:
                sock = sock or self.server.client()
                sock.sendall(f"GET {self.path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = b""
                while not re.search(rb"\r\n\r\n(?=.)", answer, re.S):
                    if not (piece := sock.recv(65536)):
                        raise ValueError("closed without an answer")
                    answer += piece
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise ValueError(answer[:30].decode())
                if b"Connection: close" in answer:
                    sock.close()
                    sock = None
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))
                sock = None
            self.times.append(time.monotonic() - began)
        if sock:
            sock.close()

    @property
    def slowest(self):
        return max(self.times, default=0.0)


DRILLS = []


def drill(slowest=0.5, failures=0):
    """Register a drill: a generator that yields its server, and the bystander's limits (seconds, answers)."""

    def register(function):
        DRILLS.append((function, slowest, failures))
        return function

    return register


# Master and workers.


@drill()
def boot_that_hangs_stops_the_start(checkout):
    with Server(checkout, "--timeout", 2) as server:
        (server.folder / "hang-while-loading").touch()
        # The first process may have looked before: a second one does not.
        server.process.kill()
        server.process.wait()
        command = [sys.executable, str(checkout / "async_wsgi.py"), "--port", "0", "--timeout", "2", "fault_app"]
        try:
            ended = subprocess.run(command, cwd=server.folder, capture_output=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed("it waits for ever") from None
        if ended.returncode != 1:
            raise Failed(f"status {ended.returncode}")
    return "status 1"


@drill(slowest=1.0)
def boot_that_hangs_in_a_reload_leaves_the_old_worker(checkout):
    with Server(checkout, "--timeout", 2).started() as server, Bystander(server) as bystander:
        (server.folder / "hang-while-loading").touch()
        server.release(2)
        server.reload()
        until(lambda: server.lines("hang") or server.lines("ended with"), "word of the hanging boot")
        (server.folder / "hang-while-loading").unlink()
        server.reload()
        until(lambda: server.ask()[1] == b"2", "new release")
    return bystander


@drill(slowest=9.0, failures=99)
def worker_that_hangs_in_its_first_turn_is_replaced_again(checkout):
    with Server(checkout, "--timeout", 2).started() as server, Bystander(server) as bystander:
        for _ in range(2):
            old = server.workers()
            with server.client() as sock:
                sock.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
                until(lambda: set(server.workers()) - set(old), "successor")  # noqa: B023
        until(lambda: server.workers() and server.ask()[0] == 200, "answer")
    return bystander


@drill()
def two_reloads_at_once_end_with_the_newest(checkout):
    with Server(checkout, "-w", 2).started() as server, Bystander(server) as bystander:
        for version in range(2, 6):
            server.release(version)
            server.reload()
            time.sleep(0.1)
        until(lambda: {server.ask()[1] for _ in range(20)} == {b"5"}, "newest release on all workers")
    return bystander


@drill()
def five_generations_of_streams_outlive_their_reloads(checkout):
    streams = []
    with Server(checkout, "-w", 2, "--threads", 8, "--grace", 60).started() as server, Bystander(server) as bystander:
        for version in range(2, 8):
            sock = server.client()
            sock.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            sock.recv(10)
            streams.append(sock)
            server.release(version)
            server.reload()
            until(lambda: {server.ask()[1] for _ in range(10)} == {b"%d" % version}, f"release {version}")  # noqa: B023
        (server.folder / "go-on").touch()
        for sock in streams:
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                if not (piece := sock.recv(65536)):
                    raise Failed("a stream was cut")
                data += piece
            sock.close()
    return bystander


@drill(slowest=60.0)
def slow_requests_are_no_hang(checkout):
    with Server(checkout, "--timeout", 4).started() as server, Bystander(server) as bystander:
        socks = [server.client() for _ in range(20)]
        for sock in socks:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        for sock in socks:
            read_answer(sock)
            sock.close()
        if server.lines("hangs"):
            raise Failed("a healthy worker was killed")
    return bystander


@drill()
def killed_master_with_a_hanging_worker_frees_the_port(checkout):
    with Server(checkout, "--timeout", 3).started() as server, server.client() as sock:
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        server.process.kill()
        server.process.wait()
        began = time.monotonic()

        def is_free():
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", server.port)):
                return True

        until(is_free, "free port")
    return f"free after {time.monotonic() - began:.1f} s"


@drill(failures=1)
def stop_of_the_whole_group_starts_nobody(checkout):
    with Server(checkout, "-w", 4).started() as server:
        until(lambda: len(server.workers()) == 4, "four workers")
        os.killpg(server.process.pid, signal.SIGTERM)
        status = server.process.wait(PATIENCE)
        if status or server.lines("ended with") or server.lines("starting another"):
            raise Failed(f"status {status}, {server.lines('ended with')[:1]}")
    return "status 0, no surprise"


# Disk, descriptors, kernel.


@drill()
def full_disk_for_bodies(checkout):
    with Server(checkout).started() as server, Bystander(server) as bystander:
        worker = server.workers()
        for room in (0, 600_000, 1_000_001):
            resource.prlimit(worker[0], resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            if (status := server.ask("/upload", b"POST", bytes(2_000_000))[0]) != 507:
                raise Failed(f"status {status}")
        if server.workers() != worker:
            raise Failed("the worker died")
    return bystander


@drill()
def early_bytes_buy_no_silence(checkout):
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
    server = Server(checkout, *["--body-timeout", 2] * takes_option(checkout, "--body-timeout"))
    with server.started(), Bystander(server) as bystander, server.client() as sock:
        sock.sendall(head + bytes(500_000))
        began = time.monotonic()
        status, _ = read_answer(sock)
        if status != 408:
            raise Failed(f"status {status}")
        bystander.note = f"408 after {time.monotonic() - began:.1f} s"
    return bystander


@drill(failures=999)  # it is idle, and makes room; while there is none it is told so, too
def out_of_descriptors_newcomers_are_told(checkout):
    with Server(checkout).started() as server, Bystander(server) as bystander:
        (worker,) = server.workers()
        used = len(os.listdir(f"/proc/{worker}/fd"))
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 20, hard))
        busy = [server.client() for _ in range(60)]
        for sock in busy:
            sock.sendall(b"POST /upload HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\n")
        busy[-1].settimeout(5)
        status, _ = read_answer(busy[-1])
        if status != 503:
            raise Failed(f"status {status}")
        for sock in busy:
            sock.close()
        until(lambda: server.ask()[0] == 200, "recovery")
    return bystander


@drill()
def log_that_nobody_reads(checkout):
    reader, writer = os.pipe()
    with Server(checkout, "--access-log", "-", stdout=writer).started() as server, Bystander(server) as bystander:
        for _ in range(3000):
            server.ask()
    os.close(reader)
    os.close(writer)
    return bystander


@drill()
def full_disk_for_logs(checkout):
    with Server(checkout, "--access-log", "/dev/full").started() as server, Bystander(server) as bystander:
        for _ in range(500):
            server.ask()
        if len(server.lines("")) > 20:
            raise Failed(f"{len(server.lines(''))} lines about it")
    return bystander


@drill(slowest=20.0)
def stopped_and_continued(checkout):
    with Server(checkout).started() as server, Bystander(server) as bystander:
        (worker,) = server.workers()
        halves = [server.client() for _ in range(20)]
        for sock in halves:
            sock.sendall(b"GET / HTTP/1.1\r\nHost")
        time.sleep(0.3)
        os.kill(worker, signal.SIGSTOP)
        time.sleep(12)
        os.kill(worker, signal.SIGCONT)
        for sock in halves:
            sock.sendall(b": a\r\n\r\n")
        cut = 0
        for sock in halves:
            try:
                cut += read_answer(sock)[0] != 200
            except (OSError, ValueError):
                cut += 1
            sock.close()
        if cut:
            raise Failed(f"{cut} of 20 clients cut off")
    return bystander


# Code under attack.


@drill()
def forwarded_field_of_blanks(checkout):
    server = Server(checkout, "--trusted-proxy", "127.0.0.1")
    with server.started(), Bystander(server) as bystander, server.client() as sock:
        for _ in range(5):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nForwarded: ," + b" " * 8150 + b'"\r\n\r\n')
            read_answer(sock)
    return bystander


@drill()
def one_byte_chunks(checkout):
    body = b"1\r\nx\r\n" * 43690
    with Server(checkout).started() as server, Bystander(server) as bystander:
        done = threading.Event()

        def attack():
            with contextlib.suppress(OSError), server.client() as sock:
                sock.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not done.is_set():
                    sock.sendall(body)

        threads = [threading.Thread(target=attack) for _ in range(10)]
        for thread in threads:
            thread.start()
        time.sleep(4)
        done.set()
        for thread in threads:
            thread.join()
        median = statistics.median(bystander.times)
        bystander.note = f"median {median * 1000:.0f} ms"
        if median > 0.02:
            raise Failed(bystander.note)
    return bystander


@drill()
def application_that_breaks_in_mid_stream(checkout):
    with Server(checkout).started() as server, Bystander(server) as bystander:
        for version in (b"1.0", b"1.1"):
            with server.client() as sock:
                sock.sendall(b"GET /broken HTTP/" + version + b"\r\nHost: a\r\n\r\n")
                data = b""
                with contextlib.suppress(ConnectionResetError):
                    while piece := sock.recv(65536):
                        data += piece
                    if version == b"1.0" or data.endswith(b"0\r\n\r\n"):
                        raise Failed(f"the client of HTTP/{version.decode()} cannot tell")
        if not server.lines("OSError: the application's own disk"):
            raise Failed("no traceback in the log")
    return bystander


@drill()
def answer_of_empty_pieces(checkout):
    with Server(checkout).started() as server, Bystander(server) as bystander, server.client() as sock:
        sock.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(2)
    return bystander


def run(function, slowest, failures, checkout):
    """Return (passed, text) of one drill."""
    try:
        result = function(checkout)
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        return False, str(error) or repr(error)
    if isinstance(result, str):
        return True, result
    text = f"{len(result.times)} asked, {len(result.failures)} failed, slowest {result.slowest * 1000:.0f} ms"
    if note := getattr(result, "note", ""):
        text += f"; {note}"
    return len(result.failures) <= failures and result.slowest <= slowest, text


LONG = {"stopped_and_continued", "five_generations_of_streams_outlive_their_reloads", "slow_requests_are_no_hang"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="leave out the drills that take over ten seconds")
    parser.add_argument("--only", metavar="NAME", help="only the drills that have this in their name")
    parser.add_argument("--checkout", type=Path, default=BENCH.parent, help="whose server to try (default: this one)")
    args = parser.parse_args()
    good = True
    print("| drill | | bystander, or what was found |\n|---|---|---|")
    for function, slowest, failures in DRILLS:
        name = function.__name__
        if (args.only or "") in name and not (args.short and name in LONG):
            passed, text = run(function, slowest, failures, args.checkout.resolve())
            good = good and passed
            print(f"| {name.replace('_', ' ')} | {'ok' if passed else 'FAILED'} | {text} |", flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()

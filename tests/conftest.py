"""Fixtures for all tests: real servers in processes of their own, clients on raw sockets, and a check for leaks.

Environment: SERVER_PYTHON_FLAGS -- options for the Python that runs the servers, such as "-O" or "-X dev -W error".
"""

import contextlib
import gc
import json
import os
import re
import resource
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LAB = ROOT / "tests" / "lab"
# What loads the machine or measures it. The rest does not mind how busy it is.
LOADING = ("tests/lab/", "tests/test_book.py", "tests/test_fairness.py", "tests/test_patterns.py")
# Long ones whose tests mostly wait, and have nothing in common.
ALONE = ("tests/test_prefork.py", "tests/test_worker.py", "tests/test_lab_check.py")
PATIENCE = 20.0  # seconds after which whatever a test waits for will not come
URL = re.compile(rb"https?://\[?([^\s\]]+)\]?:([0-9]+)/")
COMPLAINT = re.compile(r"Traceback|Warning|Exception ignored")  # not the log level WARNING


def pytest_configure():
    # Or each of the many servers would compile all our modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Some tests hold more than a thousand connections open.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config, log):
    """With -n let one process run all tests of a file, for they share servers, or all that load the machine."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            if path in ALONE:
                return nodeid
            return "load" if path.startswith(LOADING) else path

    return Scheduling(config, log) if config.getoption("dist") == "load" else None


def pytest_collection_finish():
    # Only what tests make can leak: without this every leak check walks through all modules again.
    gc.freeze()


def wait_until(condition, what, patience=PATIENCE):
    """Return what *condition()* returns once that is true; fail the test when it does not become so."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {patience:g} s")
        time.sleep(0.01)
    return result


def python_command(script, *options):
    """Return the command that runs *script* of this project as a server."""
    flags = shlex.split(os.environ.get("SERVER_PYTHON_FLAGS", ""))
    return [sys.executable, *flags, str(ROOT / script), *map(str, options)]


def group_members(group):
    """Return the ids of the living processes of process group *group*."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended while we looked
            state, _parent, pgid = entry.read_text().rpartition(")")[2].split()[:3]
            if int(pgid) == group and state != "Z":
                members.append(int(entry.parent.name))
    return members


def catches_sigterm(pid):
    """Tell whether process *pid* has a handler for SIGTERM and lets the signal through, as a worker that serves."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # ended while we looked
        return False
    caught, blocked = (int(re.search(rf"{name}:\t(\w+)", status)[1], 16) for name in ("SigCgt", "SigBlk"))
    return bool(caught & ~blocked & 1 << signal.SIGTERM - 1)


class Answer(NamedTuple):
    status: int
    fields: dict  # lower-case names -> values, both str
    body: bytes


class Client:
    """A client's end of a connection, which reads answers one by one and leaves what follows for the next."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.reader = sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def get(self, target="/", *lines, method="GET", version="1.1"):
        """Send a request with the field *lines* given and return its answer."""
        self.send("\r\n".join([f"{method} {target} HTTP/{version}", "Host: a", *lines, "", ""]).encode("latin-1"))
        return self.read_answer(method)

    def read_answer(self, method="GET"):
        """Return the next answer, interim ones included; *method* is what it answers."""
        status_line = self.reader.readline()
        assert re.fullmatch(rb"HTTP/1\.1 [0-9]{3} [^\r\n]*\r\n", status_line), f"no answer but {status_line!r}"
        status, fields = int(status_line[9:12]), {}
        while (line := self.reader.readline()) != b"\r\n":
            name, _, value = line.decode("latin-1").removesuffix("\r\n").partition(": ")
            assert name.lower() not in fields or name.lower() == "set-cookie", f"{name} twice"
            fields[name.lower()] = value
        return Answer(status, fields, self.read_body(method, status, fields))

    def read_body(self, method, status, fields):
        if method == "HEAD" or status < 200 or status in (204, 304):
            return b""
        if fields.get("transfer-encoding") == "chunked":
            return self.read_chunks()
        if "content-length" in fields:
            body = self.reader.read(int(fields["content-length"]))
            assert len(body) == int(fields["content-length"]), "the body ends early"
            return body
        return self.reader.read()

    def read_chunks(self):
        body = b""
        while size := int(self.reader.readline(), 16):
            body += self.reader.read(size)
            assert self.reader.read(2) == b"\r\n"
        assert self.reader.readline() == b"\r\n"
        return body

    def read_rest(self):
        """Return what comes until the server closes; a reset is an error."""
        return self.reader.read()

    def send_until_answered(self, piece, limit):
        """Send *piece* again and again until the server answers or closes; return the number of bytes sent.

        Fail when *limit* bytes have been taken without an answer, or nothing moves any more.
        """
        sent, view = 0, memoryview(piece)
        while sent < limit:
            readable, writable, _ = select.select([self.sock], [self.sock], [], PATIENCE)
            if readable:
                return sent
            assert writable, f"the server takes nothing more, after {sent} bytes"
            sent += self.sock.send(view[sent % len(piece) :])
        pytest.fail(f"no answer after {sent} bytes")

    def is_silent(self):
        """Tell whether nothing has come from the server, not even its end."""
        poller = select.poll()  # select() ends at descriptor 1024
        poller.register(self.sock, select.POLLIN)
        return not poller.poll(0)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Leave with a reset instead of the end of the stream."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self):
        self.reader.close()
        self.sock.close()


class Server:
    """A server in a process group of its own. Its output goes to a file; a complaint there fails the test.

    may_complain -- set it in a test that makes the server log a traceback
    """

    def __init__(self, command, log_path, **options):
        self.may_complain = False
        self.log_path = log_path
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        self.started = threading.Event()
        self.host = self.port = None
        self.drain = threading.Thread(target=self.drain_output)
        self.drain.start()

    def drain_output(self):
        with self.process.stdout as output, self.log_path.open("wb") as log:
            for line in output:
                log.write(line)
                log.flush()
                if self.port is None and (match := URL.search(line)):
                    self.host, self.port = match[1].decode(), int(match[2])
                    self.started.set()
        self.started.set()

    def wait_started(self):
        self.started.wait(PATIENCE)
        assert self.port, f"the server did not start:\n{self.log_path.read_text()}"
        return self

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    @property
    def pid(self):
        return self.process.pid

    def workers(self):
        """Return the ids of the processes that the parent has forked."""
        return [pid for pid in group_members(self.pid) if pid != self.pid]

    def wait_serving(self, count):
        """Wait until *count* workers serve: those that still boot do not know the signals yet."""
        wait_until(lambda: sum(map(catches_sigterm, self.workers())) == count, f"start of {count} workers")

    def signal(self, number):
        os.kill(self.pid, number)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self, peak=False):
        """Return the resident memory of the process in bytes, or its *peak* since forget_peak_memory()."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)[1]) * 1024

    def forget_peak_memory(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self):
        """Wait until the process has ended; return its exit status."""
        return self.process.wait(PATIENCE)

    def log_lines(self):
        """Return the lines it has printed, without those of its start; complete once it has been stopped."""
        lines = self.log_path.read_text("utf-8", "backslashreplace").splitlines()
        return [line for line in lines if " Serving HTTP on " not in line and " running as root, " not in line]

    def stop(self):
        """End it with SIGTERM, and fail the test if it does not end cleanly; return the lines of its log."""
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                self.wait()
            left = group_members(self.pid)
            assert not left, f"processes left: {left}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
            self.drain.join()
        lines = self.log_lines()
        assert self.may_complain or not COMPLAINT.search("\n".join(lines)), "\n".join(["it complained:", *lines])
        return lines


@contextlib.contextmanager
def running_servers(folder):
    """Give a function that starts a server from a command; stop all of them in the end."""
    with contextlib.ExitStack() as stack:

        def start(command, **options):
            server = Server(command, folder / f"server{time.monotonic_ns()}.log", **options)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def start(tmp_path):
    """Return a function: start("httpd.py", "-w", 2) runs that script on a free port and returns the Server."""
    with running_servers(tmp_path) as run:
        yield lambda script, *options, **popen: run(
            python_command(script, "--port", 0, *options), **{"cwd": ROOT, **popen}
        ).wait_started()


@pytest.fixture
def run_command(tmp_path):
    """Return a function: run_command([...]) runs a server that any command starts; call its wait_started()."""
    with running_servers(tmp_path) as run:
        yield run


def handler_command(name, **settings):
    """Return the command for tests/handler_server.py: the class *name* there, and settings for it."""
    return python_command("tests/handler_server.py", name, json.dumps(settings))


@pytest.fixture
def serve(tmp_path):
    """Return a function: serve("Echo", handler={"idle_timeout": 1}) runs a class of tests/handler_server.py."""
    with running_servers(tmp_path) as run:
        yield lambda name, **settings: run(handler_command(name, **settings)).wait_started()


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory):
    """As `serve`, for a server that all tests of a module share."""
    with running_servers(tmp_path_factory.mktemp("servers")) as run:
        yield lambda name, **settings: run(handler_command(name, **settings)).wait_started()


@pytest.fixture(scope="module")
def echo(serve_module):
    """A server of the class Echo in tests/handler_server.py that all tests of a module share."""
    return serve_module("Echo")


@pytest.fixture
def connect():
    """Return a function: connect(server) opens a connection and returns the Client."""
    with contextlib.ExitStack() as stack:

        def connect(server, receive_buffer=None):
            sock = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
            if receive_buffer:  # before connecting: the window is agreed on then
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Client(sock)
            stack.callback(client.close)
            sock.connect((server.host, server.port))
            return client

        yield connect


def belongings():
    """Return what this process has open or running: descriptors with what they lead to, children, threads."""
    descriptors = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very loop
            descriptors.add((entry.name, os.readlink(entry)))
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return descriptors, set(children), set(threading.enumerate())


@pytest.fixture(autouse=True)
def leak_check(request):
    """Fail a test that leaves a descriptor, a child or a thread behind."""
    # Servers of the lab check outlive single tests.
    if LAB in request.path.parents or not Path("/proc/self/fd").exists():
        yield
        return
    before = belongings()
    yield
    if belongings() != before:
        gc.collect()  # only then: thousands of tests leave nothing, and each collection takes its time
    left = [after - earlier for earlier, after in zip(before, belongings(), strict=True)]
    assert not any(left), f"left behind: {left}"

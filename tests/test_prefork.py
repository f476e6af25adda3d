"""The master and its workers: those that die, hang, leak or are replaced, and that no request is lost over it."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, Client, group_members, python_command, running_servers, wait_until

GOOD = """
import ctypes, os, sys, time

VERSION = b"1"
kept = []

def spin():
    open("spinning", "w").close()
    while True:
        pass

FAULTS = {
    "/segfault": lambda: ctypes.string_at(0),
    "/_exit": lambda: os._exit(0),
    "/_exit5": lambda: os._exit(5),
    "/exit": lambda: sys.exit(5),
    "/spin": spin,
    "/slow": lambda: time.sleep(0.1),
    "/leak": lambda: kept.append(b"x" * 2**24),
}

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in FAULTS:
        FAULTS[path]()
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/slow_stream":
        return (b"x" * (not time.sleep(0.01)) for _ in range(20))
    if path == "/download":
        return (bytes(65536) for _ in range(100))
    return [b"%d %s %d" % (os.getpid(), VERSION, length)]
"""


@pytest.fixture
def start_app(start, tmp_path):
    """Return a function that serves the application GOOD, in the file faulty.py of *tmp_path*."""
    (tmp_path / "faulty.py").write_text(GOOD)

    def start_it(*options):
        # Cached bytecode is told from new source by whole seconds: too coarse for us.
        command = ("-B", ROOT / "async_wsgi.py", "--port", "0", "faulty:application", *options)
        return servers([sys.executable, *map(str, command)], cwd=tmp_path).wait_started()

    with running_servers(tmp_path) as servers:
        yield start_it


class Load:
    """Clients that ask on kept connections, in threads, as long as the `with` block runs; failed ones are counted."""

    def __init__(self, server, clients=4):
        self.server, self.failures, self.bodies = server, [], []
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
                sock = socket.create_connection((self.server.host, self.server.port), PATIENCE)
                with contextlib.closing(Client(sock)) as client:
                    kept = True
                    while kept and not self.done.is_set():
                        answer = client.get("/")
                        self.bodies.append(answer.body)
                        kept = answer.fields["connection"] == "keep-alive"
            except (OSError, AssertionError) as error:
                self.failures.append(error)


def worker_of(client):
    return int(client.get("/").body.split()[0])


def is_refused(server):
    try:
        socket.create_connection((server.host, server.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def stop_idle(pid):
    """Stop a process that waits for events, so that it finds all that comes meanwhile in one turn."""

    def state():
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    wait_until(lambda: state() == "S", "the worker to wait")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state() == "T", "the worker to be stopped")


def lines_with(server, text):
    return [line for line in server.log_lines() if text in line]


def wait_logged(server, text):
    return wait_until(lambda: lines_with(server, text), f"line {text!r} in the log")


def end_of(client):
    """Wait until the connection of *client* is gone, whatever comes before."""
    with contextlib.suppress(ConnectionResetError):
        client.read_rest()


# Workers that die (P1-P5).


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("kill", "SIGKILL"),
        ("/segfault", "SIGSEGV"),
        ("/_exit", "status 0"),
        ("/_exit5", "status 5"),
    ],
)
def test_worker_that_dies_is_replaced_and_logged(start_app, connect, fault, cause):
    server = start_app("-w", 2)
    server.wait_serving(2)
    client = connect(server)
    pid = worker_of(client)
    if fault == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % fault.encode())
    wait_until(lambda: pid not in server.workers(), "death")
    wait_until(lambda: len(set(server.workers()) - {pid}) == 2, "replacement", patience=2)
    assert worker_of(connect(server)) != pid
    assert [line for line in server.stop() if f"worker {pid} ended with {cause}" in line]


def test_exit_of_the_application_is_an_error_of_one_request(start_app, connect):
    server = start_app()
    server.may_complain = True  # that shows where
    client = connect(server)
    pid = worker_of(client)
    assert client.get("/exit").status == 500
    assert worker_of(client) == pid


def test_crash_loop_is_slowed_down(start_app, connect):
    """At most as many starts a second as there are workers, and a master that has nothing to do."""
    server = start_app("-w", 2)
    server.wait_serving(2)
    began, cpu = time.monotonic(), server.cpu_seconds()
    while time.monotonic() < began + 3:
        client = connect(server)
        client.send(b"GET /_exit HTTP/1.1\r\nHost: a\r\n\r\n")
        end_of(client)
    elapsed = time.monotonic() - began
    assert 4 <= len(lines_with(server, "starting another")) <= 2 * (elapsed + 1) + 2
    assert server.cpu_seconds() - cpu < 0.1 * elapsed
    assert connect(server).get("/").status == 200


@pytest.mark.parametrize(
    ("source", "status", "shown"),
    [
        ("raise LookupError('cannot boot')", 1, "LookupError: cannot boot"),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no database')", 1, "no database"),
        ("import os; os._exit(0)", 1, ""),
    ],
)
def test_application_that_cannot_boot_ends_the_server(tmp_path, source, status, shown):
    (tmp_path / "broken_app.py").write_text(source)
    began = time.monotonic()
    process = subprocess.Popen(
        python_command("async_wsgi.py", "--port", 0, "-w", 4, "broken_app:application"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert log.count(shown) == 1 or not shown
    assert time.monotonic() - began < 5
    assert not group_members(process.pid)


FORKS = """
import os, resource, signal, sys, time
sys.path.insert(0, sys.argv[1])
import logging
from asynchttpd import prefork, scoreboard
logging.basicConfig(level="INFO")
if os.getuid() == 0:
    os.setuid(54321)  # root is not bound by the limit
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)

def work(row, ready):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready()
    os.write(1, b"serving\\n")  # at once: print() may write the line's end apart, behind another worker's line
    while True:
        time.sleep(1)

def lift():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGUSR2)  # the master reads both at once
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))

resource.setrlimit(resource.RLIMIT_NPROC, (1 if os.getuid() != 54321 else 0, hard))
master = prefork.Master(work, int(sys.argv[2]), scoreboard.Board(), lambda: None, lift)
master.catch_signals()
print("http://127.0.0.1:1/", flush=True)
sys.exit(master.run())
"""


@pytest.fixture
def run(tmp_path):
    with running_servers(tmp_path) as servers:
        yield servers


def test_fork_that_fails_is_tried_again(run):
    server = run([sys.executable, "-c", FORKS, str(ROOT), "2"]).wait_started()
    wait_logged(server, "cannot fork: Resource temporarily unavailable")
    cpu = server.cpu_seconds()
    time.sleep(0.3)
    assert server.cpu_seconds() - cpu < 0.1, "it spins"
    server.signal(signal.SIGUSR1)
    wait_until(lambda: len(lines_with(server, "serving")) == 2, "recovery")
    assert len(lines_with(server, "SIGUSR2 means nothing here")) == 1
    server.stop()
    assert server.wait() == 0


def test_number_of_workers_has_a_limit(run):
    """Here none can be started: a thousand are too many for a test."""
    server = run([sys.executable, "-c", FORKS, str(ROOT), "999"]).wait_started()
    for count in (1, 2):
        server.signal(signal.SIGTTIN)
        wait_until(lambda count=count: len(lines_with(server, "from now on: 1000")) == count, "word of the number")
    server.stop()


def test_master_without_descriptors_tries_again(start_app, connect):
    server = start_app("-w", 2)
    server.wait_serving(2)
    server.may_complain = True  # so do workers that cannot boot
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    client = connect(server)
    client.send(b"GET /_exit HTTP/1.1\r\nHost: a\r\n\r\n")
    end_of(client)
    wait_until(lambda: len(lines_with(server, "starting another")) > 1, "failure to boot")
    assert connect(server).get("/").status == 200
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: len(server.workers()) == 2, "recovery")


def test_children_that_are_not_workers_are_no_alarm(run, connect):
    """P14: as process 1 of a container the master is given everybody's orphans."""
    command = python_command("httpd.py", "--port", 0, "-w", 2)
    server = run(["sh", "-c", 'sh -c "exit 3" & sleep 0.5 & exec "$@"', "sh", *command], cwd=ROOT / "www")
    server.wait_started()
    wait_until(lambda: len(server.workers()) == 2, "reaping of the strangers")
    assert connect(server).get("/").status == 200
    assert server.stop() == []


# Workers that hang (P6, P9).


def test_worker_that_hangs_shows_its_stack_and_is_replaced(start_app, connect, tmp_path):
    server = start_app("-w", 2, "--timeout", 2)
    server.wait_serving(2)
    stuck = connect(server)
    pid = worker_of(stuck)
    stuck.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until((tmp_path / "spinning").exists, "endless loop")
    for _ in range(20):  # the other serves
        client = connect(server)
        assert worker_of(client) != pid
        client.close()
    end_of(stuck)
    wait_until(lambda: len(set(server.workers()) - {pid}) == 2, "replacement")
    log = "\n".join(server.stop())
    assert f"worker {pid} hangs" in log
    assert re.search(r'faulty\.py", line \d+ in spin', log)


@pytest.mark.parametrize("everybody", [False, True])
def test_time_while_the_master_was_stopped_is_nobodys_fault(start_app, connect, everybody):
    """A stopped master, or a machine that slept."""
    server = start_app("-w", 2, "--timeout", 3)
    server.wait_serving(2)
    workers = sorted(server.workers())
    client = connect(server)
    stopped = [*workers, server.pid] if everybody else [server.pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    if not everybody:
        assert client.get("/").status == 200
    time.sleep(3.5)  # longer than --timeout
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    assert client.get("/").status == 200
    time.sleep(1.5)  # in which the master looks again
    assert sorted(server.workers()) == workers
    assert server.stop() == []


# No healthy worker is killed.


def test_many_slow_requests_are_no_hang(start_app, connect, tmp_path):
    """Each is quick enough; together they take much longer than --timeout, and signals are heeded meanwhile."""
    server = start_app("--timeout", 1)
    (pid,) = server.workers()
    clients = [connect(server) for _ in range(32)]
    for client in clients:
        assert client.get("/").status == 200
    time.sleep(1.5)  # a slow turn before would make the loop take events one by one
    stop_idle(pid)
    for client in clients:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    os.kill(pid, signal.SIGCONT)
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(server), "the end to begin")
    assert sum(client.is_silent() for client in clients) > 16, "SIGTERM has waited for the requests"
    for client in clients:
        assert client.read_answer().status == 200
    assert server.wait() == 0
    assert server.stop() == []


def test_many_slow_streams_are_no_hang(start_app, connect):
    server = start_app("--timeout", 1)
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.send(b"GET /slow_stream HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        assert len(client.read_answer().body) == 20
    assert server.stop() == []


def test_answers_of_neighbours_leave_before_a_hung_worker_is_killed(start_app, connect):
    server = start_app("--timeout", 1)
    (pid,) = server.workers()
    quick, stuck = connect(server), connect(server)
    assert quick.get("/").status == stuck.get("/").status == 200
    stop_idle(pid)
    quick.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    stuck.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
    os.kill(pid, signal.SIGCONT)
    assert quick.read_answer().status == 200
    end_of(stuck)


# Workers that are due to be replaced (P7).


def test_worn_workers_are_replaced_one_at_a_time(start_app):
    server = start_app("-w", 2, "--max-requests", 200)
    server.wait_serving(2)
    with Load(server) as load:
        counts = set()

        def three_replaced():
            counts.add(len({*server.workers(), *server.workers()}))  # one look may miss a worker that is born meanwhile
            return len(lines_with(server, "takes the place of")) >= 3

        wait_until(three_replaced, "replacement of three")
    assert not load.failures
    assert min(counts) == 2
    assert len({body.split()[0] for body in load.bodies}) >= 3


@pytest.mark.parametrize("out_of_descriptors", [False, True])
def test_worker_that_leaks_is_replaced(start_app, connect, out_of_descriptors):
    """Also where nobody can open /proc."""
    server = start_app("--max-rss", 100)
    client = connect(server)
    pid = worker_of(client)
    if out_of_descriptors:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))
    for _ in range(8):
        assert client.get("/leak").status == 200
    wait_until(lambda: server.workers() and pid not in server.workers(), "replacement")
    assert worker_of(connect(server)) != pid


# Reload (P12).


def test_reload_brings_new_code_and_loses_no_request(start_app, tmp_path):
    server = start_app("-w", 2)
    server.wait_serving(2)
    before, descriptors = set(server.workers()), server.descriptors()
    with Load(server) as load:
        wait_until(lambda: len(load.bodies) > 100, "load")
        (tmp_path / "faulty.py").write_text(GOOD.replace('VERSION = b"1"', 'VERSION = b"2"'))
        server.signal(signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "reload")
        seen = len(load.bodies)
        wait_until(lambda: len(load.bodies) > seen + 100, "load")
    assert not load.failures
    assert load.bodies[0].split()[1] == b"1"
    assert {body.split()[1] for body in load.bodies[seen + 10 :]} == {b"2"}
    assert server.descriptors() == descriptors, "the master keeps something of each worker"


def test_broken_application_on_reload_keeps_the_old(start_app, connect, tmp_path):
    server = start_app("-w", 2)
    server.wait_serving(2)
    before = set(server.workers())
    server.may_complain = True
    (tmp_path / "faulty.py").write_text("def application(:")
    server.signal(signal.SIGHUP)
    wait_logged(server, "the old ones stay")
    assert set(server.workers()) == before
    assert connect(server).get("/").body.split()[1] == b"1"
    (tmp_path / "faulty.py").write_text(GOOD.replace('VERSION = b"1"', 'VERSION = b"2"'))
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "reload")
    assert connect(server).get("/").body.split()[1] == b"2"
    log = server.stop()
    # Each try has shown its traceback; on a slow machine there may have been a second one.
    assert sum("SyntaxError" in line for line in log) == sum("the old ones stay" in line for line in log)


def test_flood_of_signals_does_no_harm(start_app, connect):
    server = start_app("-w", 2)
    server.wait_serving(2)
    for _ in range(300):
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            server.signal(number)
    assert connect(server).get("/").status == 200
    server.stop()
    assert server.wait() == 0


# Stop (P8, P10, P11).


def test_stop_cuts_nothing(start_app, connect):
    """Idle connections, slow downloads, slow uploads, and requests sent just then."""
    server = start_app("-w", 2)
    idle = [connect(server) for _ in range(40)]
    downloads = [connect(server, receive_buffer=4096) for _ in range(4)]
    uploads = [connect(server) for _ in range(4)]
    for client in idle:
        client.get("/")
    for client in downloads:
        client.send(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
        client.sock.recv(1, socket.MSG_PEEK)
    for client in uploads:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n")
        assert client.read_answer().status == 100
        client.send(bytes(100000))
    server.signal(signal.SIGTERM)
    for client in idle[:20]:
        answer = client.get("/")
        assert (answer.status, answer.fields["connection"]) in ((200, "close"), (200, "keep-alive"))
    for client in uploads:
        client.send(bytes(100000))
        assert client.read_answer().body.endswith(b" 200000")
    for client in downloads:
        assert len(client.read_answer().body) == 6553600
    for client in idle:
        assert client.read_rest() == b""
    assert server.wait() == 0


def test_first_request_that_is_late_is_answered(start_app, connect):
    """A link with a long way loses it, and the client sends it a second time after more than a second."""
    server = start_app()
    early = connect(server)
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(server), "the end to begin")
    time.sleep(1.5)
    answer = early.get("/")
    assert (answer.status, answer.fields["connection"]) == (200, "close")
    assert server.wait() == 0


@pytest.mark.slow
def test_queue_of_slow_requests_is_no_hang_of_a_worker_that_leaves(start_app, connect):
    server = start_app("--timeout", 1)
    (pid,) = server.workers()
    stop_idle(pid)
    clients = [connect(server) for _ in range(40)]
    for client in clients:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    server.signal(signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    for client in clients:
        assert client.read_answer().status == 200
    assert server.wait() == 0
    assert server.stop() == []


def test_deadline_of_the_stop(start_app, connect):
    server = start_app("--grace", 1)
    client = connect(server)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert client.read_answer().status == 100
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert 0.9 < time.monotonic() - began < 4
    end_of(client)


def is_free(host, port):
    with contextlib.suppress(OSError):
        socket.create_server((host, port)).close()
        return True


def test_workers_of_a_killed_master_finish_and_free_the_port(start_app, connect):
    server = start_app("-w", 2)
    server.wait_serving(2)
    client = connect(server)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert client.read_answer().status == 100
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: len(group_members(server.pid)) == 1, "leaving of the idle worker", patience=5)
    client.send(b"123456789")
    assert client.read_answer().body.endswith(b" 9")
    client.close()
    wait_until(lambda: not group_members(server.pid), "leaving of the busy worker", patience=5)
    wait_until(lambda: is_free(server.host, server.port), "freeing the port")  # its main thread may end first


# Wishes are kept: what the master was asked for happens in the end, whatever comes between.

TELLER = """
import os, time
from version import VERSION, BOOT_TIME

time.sleep(BOOT_TIME)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        return stream()
    return [b"%d %s" % (os.getpid(), VERSION)]

def stream():
    while True:
        yield b"%d\\n" % os.getpid()
        yield bytes(2**16)
"""


@pytest.fixture
def start_teller(tmp_path):
    """Return a function that serves TELLER, and one that changes the version of which it tells."""

    def change(version, boot_time=0.0):
        (tmp_path / "new").write_text(f"VERSION = {version!r}\nBOOT_TIME = {boot_time}\n")
        (tmp_path / "new").rename(tmp_path / "version.py")  # a worker that loads it meanwhile reads a whole file

    def start_it(*options):
        command = ("-B", ROOT / "async_wsgi.py", "--port", "0", "teller:application", *options)
        return servers([sys.executable, *map(str, command)], cwd=tmp_path).wait_started()

    (tmp_path / "teller.py").write_text(TELLER)
    change(b"1")
    with running_servers(tmp_path) as servers:
        yield start_it, change


def versions(server, connect, count=12):
    """Return the versions of which *count* new clients are told."""
    told = set()
    for _ in range(count):
        client = connect(server)
        told.add(client.get("/").body.split()[1])
        client.close()
    return told


def test_second_reload_during_a_reload_brings_the_newest_code_to_all(start_teller, connect):
    start, change = start_teller
    server = start("-w", 2)
    server.wait_serving(2)
    before = set(server.workers())
    change(b"2", boot_time=0.5)
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 3, "start of a new worker")
    time.sleep(0.2)  # in which it loads the second version
    change(b"3")
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "reload")
    wait_until(lambda: versions(server, connect) == {b"3"}, "the newest version on both", patience=5)


def test_generations_of_workers_that_still_stream_are_no_limit(start_teller, connect):
    start, change = start_teller
    server = start()
    streams = {}

    def stream_of_a_new_worker():
        stream = connect(server, receive_buffer=4096)
        stream.send(b"GET /stream HTTP/1.0\r\n\r\n")
        while stream.reader.readline() != b"\r\n":
            pass
        pid = int(stream.reader.readline())
        if pid in streams:  # which was told to leave just now
            stream.close()
        return pid not in streams and streams.setdefault(pid, stream)

    for generation in range(1, 8):
        change(b"%d" % generation)
        server.signal(signal.SIGHUP)
        wait_until(lambda done=generation: len(lines_with(server, "takes the place of")) == done, "reload", patience=5)
        wait_until(stream_of_a_new_worker, "a stream from the new worker")
    assert sorted(server.workers()) == sorted(streams)
    assert versions(server, connect, 1) == {b"7"}
    for stream in streams.values():
        stream.close()
    wait_until(lambda: len(server.workers()) == 1, "leaving of those that have streamed")


def test_successor_that_cannot_boot_for_a_moment_is_tried_again(start_teller, connect, tmp_path):
    start, change = start_teller
    server = start()
    server.may_complain = True
    (tmp_path / "version.py").write_text("VERSION = ")
    server.signal(signal.SIGHUP)
    wait_logged(server, "the old ones stay; trying again in 2 s")
    assert versions(server, connect) == {b"1"}
    change(b"2")
    wait_until(lambda: versions(server, connect, 1) == {b"2"}, "the new version", patience=5)


def test_worker_that_is_worn_is_replaced_when_that_can_be(start_teller, connect, tmp_path):
    start, change = start_teller
    server = start("--max-requests", 10)
    server.may_complain = True
    (pid,) = server.workers()
    (tmp_path / "version.py").write_text("VERSION = ")
    client = connect(server)
    for _ in range(12):
        assert client.get("/").status == 200
    wait_logged(server, "the old ones stay")
    change(b"2")
    wait_until(lambda: server.workers() and pid not in server.workers(), "replacement", patience=5)


# SIGUSR1 forbids the forks, and allows them again.
LIMITED = (
    FORKS.replace("resource.setrlimit(resource.RLIMIT_NPROC, (1 if", "limits = [(1 if")
    .replace("0, hard))", "0, hard), (hard, hard)]")
    .replace(
        "    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))",
        """\
    resource.setrlimit(resource.RLIMIT_NPROC, limits.pop(0))
    print("no forks" if limits else "forks again", flush=True)""",
    )
)


def test_fork_that_fails_in_a_reload_is_tried_again(run):
    server = run([sys.executable, "-c", LIMITED, str(ROOT), "2"]).wait_started()
    wait_until(lambda: len(lines_with(server, "serving")) == 2, "start of two workers")
    before = set(server.workers())
    server.signal(signal.SIGUSR1)  # no forks any more
    wait_logged(server, "no forks")
    server.signal(signal.SIGHUP)
    wait_logged(server, "cannot fork: Resource temporarily unavailable")
    server.signal(signal.SIGUSR1)
    wait_until(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "reload")


def test_number_of_workers_follows_the_signals(start_teller):
    start, _ = start_teller
    server = start("-w", 2)
    server.wait_serving(2)
    for number, count in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1), (signal.SIGTTOU, 1)):
        server.signal(number)
        wait_until(lambda count=count: len(server.workers()) == count, f"{count} workers")
    assert server.stop()[-1].endswith("workers from now on: 1")


def test_worker_that_somebody_tells_to_leave_is_replaced_while_it_finishes(start_teller, connect):
    start, _ = start_teller
    server = start()
    (pid,) = server.workers()
    stream = connect(server, receive_buffer=4096)
    stream.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    assert stream.sock.recv(1) == b"H"
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: len(server.workers()) == 2, "a worker beside it", patience=5)
    assert worker_of(connect(server)) != pid
    assert pid in server.workers()


# Booting is watched like the rest.

HANGS = "import os, time\n\ndef stuck():\n    time.sleep(60)\n\nstuck()\n"


def test_application_that_hangs_while_it_loads_ends_the_server(tmp_path):
    (tmp_path / "hanging.py").write_text(HANGS)
    command = python_command("async_wsgi.py", "--port", 0, "--timeout", 1, "hanging:application")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "hangs: it has been booting for 1 s" in done.stderr
    assert re.search(r'hanging\.py", line \d+ in stuck', done.stderr)


def test_successor_that_hangs_while_it_loads_is_ended_and_tried_again(start_teller, connect):
    start, change = start_teller
    server = start("--timeout", 1)
    server.may_complain = True
    change(b"2", boot_time=60)
    server.signal(signal.SIGHUP)
    wait_logged(server, "hangs: it has been booting for 1 s before it was ready: the old ones stay")
    assert versions(server, connect) == {b"1"}
    change(b"3")
    server.signal(signal.SIGHUP)
    wait_until(lambda: versions(server, connect, 1) == {b"3"}, "the next reload", patience=1.9)


def test_reload_does_not_wait_for_a_successor_that_boots_old_code(start_teller, connect):
    start, change = start_teller
    server = start()
    change(b"2", boot_time=25)
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 2, "start of a new worker")
    time.sleep(0.2)  # in which it loads the second version
    change(b"3")
    server.signal(signal.SIGHUP)
    wait_until(lambda: versions(server, connect, 1) == {b"3"}, "reload", patience=5)


@pytest.mark.slow
def test_successor_of_a_hung_worker_that_hangs_in_its_first_turn_is_replaced(start_app, connect):
    server = start_app("--timeout", 1)
    stuck = [connect(server) for _ in range(2)]
    for client in stuck:  # the second waits in the queue until the first worker is dead
        client.send(b"GET /spin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for client in stuck:
        end_of(client)
    assert connect(server).get("/").status == 200


# Stop and reload with somebody still there.


def test_reload_lets_answers_take_their_time_and_a_stop_tells_whom_it_cuts(start_teller, connect):
    start, change = start_teller
    server = start("--grace", 1)
    (old,) = server.workers()
    clients = [connect(server, receive_buffer=4096) for _ in range(3)]
    for client in clients:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.sock.recv(1) == b"H"
    change(b"2")
    server.signal(signal.SIGHUP)
    wait_until(lambda: versions(server, connect, 1) == {b"2"}, "reload")
    time.sleep(2.5)  # longer than --grace and the master's next look
    assert old in server.workers()
    assert f"worker {old} has not ended in time; connections cut: 3" in "\n".join(server.stop())


def test_replaced_worker_may_be_given_a_time(start_teller, connect):
    start, _ = start_teller
    server = start("--replace-grace", 1)
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.sock.recv(1) == b"H"
    server.signal(signal.SIGHUP)
    wait_logged(server, "has not ended in time; connections cut: 1")
    end_of(client)


@pytest.mark.parametrize("boot_time", [0, 30])
def test_stop_of_the_whole_group_starts_nobody_anew(start_teller, boot_time):
    """Ctrl-C in a container, or systemd, signals all processes at once."""
    start, change = start_teller
    server = start("-w", 4)
    wait_until(lambda: len(server.workers()) == 4, "start of four workers")
    if boot_time:
        server.wait_serving(4)
        change(b"2", boot_time)
        server.signal(signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == 5, "start of a fifth worker")
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait() == 0
    assert [line for line in server.stop() if "in place of" not in line] == []


def test_stop_that_is_read_together_with_the_first_readiness(run, tmp_path):
    stops_master = "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\napplication = print\n"
    (tmp_path / "stops_master.py").write_text(stops_master)
    server = run(python_command("async_wsgi.py", "--port", 0, "stops_master"), cwd=tmp_path)
    server.wait_serving(1)
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    assert server.wait() == 0
    assert server.stop() == []


def test_stop_of_the_whole_group_is_known_before_its_first_worker_has_ended(start_teller):
    """However late the master gets the processor: here after all its workers."""
    server = start_teller[0]("-w", 4)
    wait_until(lambda: len(server.workers()) == 4, "start of four workers")
    server.signal(signal.SIGSTOP)
    os.killpg(server.pid, signal.SIGTERM)
    wait_until(lambda: not server.workers(), "end of the workers")
    server.signal(signal.SIGCONT)
    assert server.wait() == 0
    assert server.stop() == []


def test_hung_worker_of_a_killed_master_frees_the_port(start_app, connect, tmp_path):
    server = start_app("--timeout", 1)
    client = connect(server)
    client.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until((tmp_path / "spinning").exists, "endless loop")
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: not group_members(server.pid), "end of the hung worker", patience=5)
    wait_until(lambda: is_free(server.host, server.port), "freeing the port")  # its main thread may end first
    wait_until(lambda: re.search(r'faulty\.py", line \d+ in spin', "\n".join(server.log_lines())), "its stack")


def test_start_names_the_process_that_has_the_port(start_app):
    server = start_app()
    command = python_command("httpd.py", "--port", server.port)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Address already in use by process" in done.stderr
    assert {str(pid) for pid in group_members(server.pid)} <= set(done.stderr.replace(",", " ").split())


def test_master_with_thousands_of_descriptors_watches_on(run):
    fill = "import os, sys\nwhile os.dup(0) < 1100: pass\nfor fd in range(1100): os.set_inheritable(fd, True)\n"
    command = python_command("httpd.py", "--port", 0)
    server = run([sys.executable, "-c", fill + "os.execv(sys.argv[1], sys.argv[1:])", *command], cwd=ROOT / "www")
    server.wait_started()
    (pid,) = wait_until(server.workers, "a worker")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.workers() not in ([], [pid]), "replacement")


# What a reload serves.


@pytest.mark.parametrize("static", [False, True])
def test_root_that_is_a_link_is_followed_when_a_worker_starts(start, start_app, connect, tmp_path, static):
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "index.html").write_text(release)
    current = tmp_path / "current"
    current.symlink_to("1")
    server = start_app("--static", f"/s={current}") if static else start("httpd.py", "-r", current)
    target = "/s/index.html" if static else "/"

    def move(release):
        (tmp_path / "new").symlink_to(release)
        (tmp_path / "new").rename(current)

    def served():
        client = connect(server)
        body = client.get(target).body
        client.close()
        return body

    assert served() == b"1"
    move("2")
    assert served() == b"1"  # until it is told
    server.signal(signal.SIGHUP)
    wait_until(lambda: served() == b"2", "the new release")
    move("nowhere")
    server.signal(signal.SIGHUP)
    wait_logged(server, "the old ones stay")
    assert served() == b"2"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a namespace of processes")
def test_process_1_of_a_container_obeys_the_same_signals(run, connect):
    """The kernel keeps from process 1 each signal that it does not handle."""
    command = python_command("httpd.py", "--port", 0)
    server = run(["unshare", "--pid", "--fork", "--kill-child", *command], cwd=ROOT / "www").wait_started()
    master, _ = sorted(server.workers())
    for number in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGHUP):
        os.kill(master, number)
    wait_logged(server, "takes the place of")
    for number, count in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
        os.kill(master, number)
        wait_until(lambda count=count: len(server.workers()) == count, "change of the number")
    assert connect(server).get("/").status == 200
    os.kill(master, signal.SIGQUIT)
    assert server.wait() == 0


# Scoreboard.

BOARD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import httpd
from asynchttpd import prefork, running, scoreboard
args = httpd.parse_args(["-w", "2", "-r", sys.argv[1] + "/www"])
running.configure(httpd.AsyncHTTPRequestHandler, args)
server, board = httpd.AsyncServer(port=0), scoreboard.Board()

def show():
    print("rows", json.dumps([list(row) for row in board]), flush=True)

master = prefork.Master(
    lambda row, ready: running.work(server, args, board, row, None, ready), 2, board, server.close, show
)
master.catch_signals()
running.announce(server, args)
sys.exit(master.run())
"""
PID, STARTED, STATE, CONNECTIONS, REQUESTS, BYTES, TURNED, SPOOLED, OPEN = range(9)


def test_scoreboard_tells_what_each_worker_does(run, connect):
    server = run([sys.executable, "-c", BOARD, str(ROOT)]).wait_started()

    def rows():
        """Ask the master for its view."""
        count = len(lines_with(server, "rows "))
        server.signal(signal.SIGUSR1)
        wait_until(lambda: len(lines_with(server, "rows ")) > count, "print of the board")
        return [row for row in json.loads(lines_with(server, "rows ")[-1][5:]) if row[PID]]

    wait_until(lambda: len(rows()) == 2 and all(row[STATE] == 2 for row in rows()), "serving of both")
    clients = [connect(server) for _ in range(6)]
    sent = sum(len(answer.body) for client in clients for answer in (client.get("/"), client.get("/")))
    wait_until(lambda: sum(row[REQUESTS] for row in rows()) == 12, "count of requests")
    now = rows()
    assert {row[PID] for row in now} == set(server.workers())
    assert sum(row[CONNECTIONS] for row in now) == 6
    assert sent < sum(row[BYTES] for row in now) < sent + 12 * 1000
    assert all(abs(time.time() - row[STARTED]) < 60 for row in now)
    assert all(time.monotonic() * 1000 - row[TURNED] < 5000 for row in now)
    for client in clients:
        client.close()
    wait_until(lambda: sum(row[CONNECTIONS] for row in rows()) == 0, "end of the connections")
    before = {row[PID] for row in now}
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(rows()) == 2 and not before & {row[PID] for row in rows()}, "reload")
    assert all(row[STATE] == 2 for row in rows())

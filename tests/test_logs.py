"""The server's log: readable, the application's logging left alone, and never a reason to stop serving."""

import contextlib
import errno
import fcntl
import logging
import os
import pty
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, group_members, python_command, wait_until

from asynchttpd import logs

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} httpd: \d+ .+")
ACCESS = re.compile(r'127\.0\.0\.1 - - \[[^]"]+\] "GET \S+ HTTP/1\.1" \d+ \d+ "-" "-" \S+ \d+ -')
LOST = re.compile(r"lines missing before the last: (\d+); (.*)")
LONG = "/" + 950 * "a"  # the line that it makes fills a pipe soon


def pipe():
    return os.pipe()


def unix_socket():
    """As systemd's journal."""
    return [end.detach() for end in socket.socketpair()]


def terminal():
    return pty.openpty()


class Started:
    """A server the output of which is read by the test itself, or not at all."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self.host = self.port = None

    def find_port(self, fd):
        """Read its start-up line from *fd*."""
        first = b""
        while b"\n" not in first:
            first += os.read(fd, 4096)
        self.host, self.port = "127.0.0.1", int(re.search(rb"http://127\.0\.0\.1:(\d+)/", first)[1])

    def stop(self):
        self.process.terminate()
        return self.process.wait(5)  # a second, on a machine that does nothing else: not the 30 of grace


@pytest.fixture
def launch():
    """Return a function: launch(kind, stream, *options) runs httpd.py with one stream at a pipe or what *kind* makes.

    It returns the server and our end, for reading; the start-up line has been read. server.other_stream is our end of
    the other stream.
    """
    with contextlib.ExitStack() as stack:

        def start(kind, stream, *options, script="httpd.py", **popen):
            ours, theirs = kind()
            stack.callback(close_if_open, ours)
            os.set_blocking(ours, True)
            first_line, other = os.pipe()
            stack.callback(os.close, first_line)
            streams = {"stdout": other, "stderr": other, stream: theirs}
            command = python_command(script, "--port", 0, *options)
            server = Started(command, **streams, **{"cwd": ROOT / "www", **popen})
            os.close(theirs)
            os.close(other)
            stack.callback(end, server.process)
            server.other_stream = first_line
            server.find_port(ours if stream == "stderr" else first_line)
            return server, ours

        yield start


def close_if_open(fd):
    with contextlib.suppress(OSError):
        os.close(fd)


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def what_is_in(fd):
    """Return all that is to be read from *fd* at this moment, in lines."""
    os.set_blocking(fd, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(fd, 65536):
            data += piece
    return data.decode().removesuffix("\n").split("\n")


def lost_according_to(lines, reason):
    found = list(filter(None, map(LOST.search, lines)))
    assert {match[2] for match in found} <= {reason}
    return sum(int(match[1]) for match in found)


# Readers that do not read, and readers that have gone.


@pytest.mark.parametrize("kind", [pipe, unix_socket, terminal])
def test_stuck_reader_of_stderr_holds_up_neither_workers_nor_the_stop(launch, connect, kind):
    server, _ = launch(kind, "stderr", "--log", "debug", "-w", 2)
    clients = [connect(server) for _ in range(6)]
    for _ in range(60):
        for client in clients:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % LONG.encode())
        for client in clients:
            assert client.read_answer().status == 404
    assert server.stop() == 0


def test_stack_of_a_hung_worker_does_not_wait_for_a_stuck_reader(launch, connect):
    """With SIGABRT the master ends a worker that hangs; faulthandler shows where it is, if it can."""
    server, _ = launch(pipe, "stderr", "--log", "debug")
    client = connect(server)
    for _ in range(100):
        assert client.get(LONG).status == 404
    hung = [pid for pid in group_members(server.process.pid) if pid != server.process.pid]
    os.kill(*hung, signal.SIGABRT)
    wait_until(lambda: client.is_silent() is False, "its end", patience=5)
    assert connect(server).get("/").status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("kind", [pipe, unix_socket])
def test_lines_that_a_slow_reader_has_missed_are_counted(launch, connect, kind):
    server, reader = launch(kind, "stderr", "--log", "debug")
    client = connect(server)
    for _ in range(300):
        assert client.get(LONG).status == 404
    lines = what_is_in(reader)
    assert client.get("/then").status == 404

    def all_accounted_for():  # the answer leaves before its line is written
        lines.extend(filter(None, what_is_in(reader)))
        return (
            "/then" in "".join(lines)
            and sum(LONG in line for line in lines) + lost_according_to(lines, "its reader does not keep up") == 300
        )

    wait_until(all_accounted_for, "a line about the missing ones")
    assert all(LINE.fullmatch(line) for line in lines)


def test_stuck_reader_of_stdout_holds_up_neither_workers_nor_the_stop(launch, connect):
    """Several workers: the room that one has seen, another may fill before the first has written."""
    server, reader = launch(pipe, "stdout", "--access-log", "-", "-w", 4)
    clients = [connect(server) for _ in range(12)]
    for _ in range(60):
        for client in clients:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % LONG.encode())
        for client in clients:
            assert client.read_answer().status == 404
    assert all(ACCESS.fullmatch(line) for line in what_is_in(reader))
    assert server.stop() == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_reader_that_has_gone_is_no_matter(launch, connect, stream):
    server, reader = launch(pipe, stream, "--log", "debug", "--access-log", "-", "-w", 2)
    os.close(reader)
    for _ in range(20):
        assert connect(server).get("/", "Connection: close").status == 200
    assert server.stop() == 0
    lines = what_is_in(server.other_stream)
    if stream == "stderr":
        assert len(lines) == 20
        assert all(map(ACCESS.fullmatch, lines))
    else:
        lost = re.findall(r"access log: Broken pipe; lines lost: (\d+)", "\n".join(lines))
        assert sum(map(int, lost)) == 20
        assert all(map(LINE.fullmatch, lines))  # no traceback


def test_pipe_of_another_user_is_asked_for_room():
    """As in a container whose process is not root: /proc does not let us open the pipe once more."""
    program = (
        "import ctypes, os; from asynchttpd import logs; ctypes.CDLL(None).prctl(4, 0)\n"  # PR_SET_DUMPABLE
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "output = logs.Output(1)\n"
        "assert output.fd == 1\n"
        "print([output.write(999 * b'x' + b'\\n') for _ in range(100)], output.reason, file=__import__('sys').stderr)"
    )
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        command = [sys.executable, "-c", program]
        ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        lines = what_is_in(reader)
    assert lines == len(lines) * [999 * "x"]
    assert ended.stderr == f"{len(lines) * [0] + (100 - len(lines)) * [1]} its reader does not keep up\n"


def test_streams_stay_as_they_are_for_the_shell_and_for_children(launch):
    """O_NONBLOCK, set on the pipe itself, would meet everybody who has it."""
    ours, theirs = os.pipe()
    try:
        server, _ = launch(lambda: (ours, os.dup(theirs)), "stderr")
        assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
        assert server.stop() == 0
    finally:
        os.close(theirs)


TALKATIVE = """
def application(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("first ")
    print("line", 1000 * "\u00e4", file=errors)
    errors.writelines(["second ", "line\\n"])
    errors.flush()
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.parametrize("options", [[], ["--threads", "2"]], ids=["loop", "threads"])
def test_application_that_writes_to_wsgi_errors_does_not_wait_for_the_reader(launch, connect, tmp_path, options):
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    options = [*options, "talkative:application"]
    server, reader = launch(pipe, "stderr", *options, script="async_wsgi.py", cwd=tmp_path)
    client = connect(server)
    for _ in range(60):
        assert client.get("/").body == b"ok"
    lines = what_is_in(reader)
    assert len(lines) > 20
    written = {line for line in lines if "missing" not in line and "running as root" not in line}
    assert written == {"first line " + 1000 * "\u00e4", "second line"}
    assert server.stop() == 0


def test_wsgi_errors_goes_to_the_log(start, connect, tmp_path):
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    log = tmp_path / "log"
    options = ["--logfile", log, "talkative:application"]
    command = python_command("async_wsgi.py", "--port", port := free_port(), *options)
    server = Started(command, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        server.host, server.port = "127.0.0.1", port
        wait_until(lambda: log.exists() and "Serving" in log.read_text(), "start")
        assert connect(server).get("/").body == b"ok"
        assert log.read_text("utf-8").endswith(f"first line {1000 * chr(0xE4)}\nsecond line\n")
        assert server.stop() == 0
        assert server.process.stderr.read() == b""
    finally:
        end(server.process)
        server.process.stderr.close()


# Full disks.


def serve_many(connect, server, number):
    client = connect(server)
    for _ in range(number):
        assert client.get(LONG).status == 404


def limit_file_size(server, size):
    for pid in group_members(server.pid):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("workers", [1, 4])
def test_full_disk_tears_no_line(start, connect, tmp_path, workers):
    """RLIMIT_FSIZE fails as a full disk does: a write takes what still fits, the next one nothing."""
    access, log = tmp_path / "access.log", tmp_path / "log"
    server = start("httpd.py", "-r", "www", "-w", workers, "--access-log", access)
    server.wait_serving(workers)
    connect(server).get("/")
    wait_until(access.read_text, "first line")
    limit_file_size(server, 20000)
    clients = [connect(server) for _ in range(8)]
    for _ in range(10):
        for client in clients:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % LONG.encode())
        for client in clients:
            assert client.read_answer().status == 404
    wait_until(lambda: access.stat().st_size > 18000, "a full log")
    limit_file_size(server, resource.RLIM_INFINITY)
    assert clients[0].get("/then").status == 404
    wait_until(lambda: "/then" in access.read_text(), "further lines")
    lines = access.read_text().removesuffix("\n").split("\n")
    assert all(ACCESS.fullmatch(line) for line in lines)
    lost = [int(re.search(r"access log: File too large; lines lost: (\d+)", line)[1]) for line in server.stop()]
    assert len(lines) + sum(lost) == 82
    assert not log.exists()


def test_line_is_taken_back_from_a_full_file_that_is_not_in_append_mode(tmp_path):
    """As with `httpd.py --access-log - > file`: what follows stands where the torn line began."""
    path = tmp_path / "access.log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        output = logs.Output(fd)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        assert [output.write(b"first.\n"), output.write(b"second\n")] == [0, 1]  # of which three bytes fitted
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert output.write(b"third\n") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.close(fd)
    assert path.read_bytes() == b"first.\nthird\n"


def test_full_file_system_tears_no_line(connect, tmp_path):
    """A real one, of 64 KiB, in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, disk]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no mount namespace for us here")
    command = python_command("httpd.py", "--port", 0, "-w", 4, "--access-log", disk / "access.log")
    server = Started([*inside, *command], stderr=subprocess.PIPE, cwd=ROOT / "www")
    try:
        server.find_port(server.process.stderr.fileno())
        clients = [connect(server) for _ in range(8)]
        for _ in range(20):
            for client in clients:
                client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % LONG.encode())
            for client in clients:
                assert client.read_answer().status == 404
        seen = Path(f"/proc/{server.process.pid}/root{disk}/access.log")  # the namespace ends with the server
        wait_until(lambda: seen.stat().st_size > 63000, "a full disk")

        def whole_lines():
            lines = seen.read_text().removesuffix("\n").split("\n")
            return lines if all(map(ACCESS.fullmatch, lines)) else None

        lines = wait_until(whole_lines, "taking back of what did not fit")
        assert server.stop() == 0
        said = server.process.stderr.read().decode()
    finally:
        end(server.process)
        server.process.stderr.close()
    assert len(lines) + sum(map(int, re.findall(r"No space left on device; lines lost: (\d+)", said))) == 160


def test_full_disk_of_the_log_is_one_line_a_minute_on_stderr(start, connect):
    ours, theirs = os.pipe()
    try:
        command = python_command("httpd.py", "--port", port := free_port(), "--log", "debug", "--logfile", "/dev/full")
        server = Started(command, stderr=theirs, cwd=ROOT / "www")
        os.close(theirs)
        server.host, server.port = "127.0.0.1", port
        wait_until(lambda: accepts(server), "start")
        serve_many(connect, server, 50)
        assert server.stop() == 0
        lines = what_is_in(ours)
        assert all("cannot write /dev/full: No space left on device; lines lost: 1" in line for line in lines)
        assert len({re.search(r"httpd: (\d+)", line)[1] for line in lines}) == len(lines) <= 2  # master and worker
    finally:
        end(server.process)
        os.close(ours)


def test_log_that_was_full_tells_how_much_is_missing(connect, tmp_path):
    log = tmp_path / "log"
    command = python_command("httpd.py", "--port", port := free_port(), "--log", "debug", "--logfile", log)
    server = Started(command, stderr=subprocess.DEVNULL, cwd=ROOT / "www")
    server.pid = server.process.pid
    try:
        server.host, server.port = "127.0.0.1", port
        wait_until(lambda: log.exists() and "Serving" in log.read_text(), "start")
        client = connect(server)
        limit_file_size(server, log.stat().st_size + 5000)
        for _ in range(20):
            assert client.get(LONG).status == 404
        limit_file_size(server, resource.RLIM_INFINITY)
        assert client.get("/then").status == 404

        def all_accounted_for():  # the answer leaves before its line is written
            lines = log.read_text().splitlines()
            return sum(LONG in line for line in lines) + lost_according_to(lines, "File too large") == 20

        wait_until(all_accounted_for, "a line about the missing ones")
        assert all(LINE.fullmatch(line) for line in log.read_text().splitlines())
    finally:
        end(server.process)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def accepts(server):
    with contextlib.suppress(OSError), socket.create_connection((server.host, server.port), PATIENCE):
        return True


# Rotation, and folders.


def rotate(*paths):
    for path in paths:
        path.rename(path.with_suffix(".old"))


def test_rotation_while_a_worker_boots_reaches_it(connect, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "slow_to_boot.py").write_text(
        "open('gate').read()\ndef application(environ, start_response):\n    raise RuntimeError('told once')\n"
    )
    access, log = tmp_path / "access.log", tmp_path / "error.log"
    command = python_command(
        "async_wsgi.py", "--port", port := free_port(), "--access-log", access, "--logfile", log,
        "slow_to_boot:application",
    )  # fmt: skip
    server = Started(command, cwd=tmp_path)
    try:
        server.host, server.port = "127.0.0.1", port
        opened = wait_until(lambda: open_to_write(gate), "boot of the worker")  # it waits for us now
        rotate(access, log)
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: access.exists() and log.exists(), "new logs of the master")
        os.close(opened)
        wait_until(lambda: "Serving" in log.read_text(), "start")

        def in_the_new_ones():  # an answer may leave in the turn of the loop at the end of which the files are opened
            assert connect(server).get("/").status == 500
            return access.read_text() and "told once" in log.read_text()

        wait_until(in_the_new_ones, "lines in the new files")
        assert server.stop() == 0
    finally:
        end(server.process)


def test_log_tells_why_a_new_worker_cannot_boot(tmp_path):
    (tmp_path / "changing.py").write_text("application = print\n")
    log = tmp_path / "error.log"
    server = Started(
        python_command("async_wsgi.py", "--port", 0, "--logfile", log, "changing:application"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: log.exists() and "Serving" in log.read_text(), "start")
        for text in ("import no_such_module\n", "raise SystemExit('no database')\n"):
            (tmp_path / "changing.py").write_text(text)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: text.split()[-1].strip("')") in log.read_text(), "word of the new worker")  # noqa: B023
        assert server.stop() == 0
        assert server.process.stderr.read() == b""
    finally:
        end(server.process)
        server.process.stderr.close()


def open_to_write(fifo):
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO  # nobody reads yet


def test_worker_that_starts_after_a_rotation_writes_the_new_file(start, connect, tmp_path):
    """The signal may come between its fork and its first statement: nobody hears it then."""
    access = tmp_path / "access.log"
    server = start("httpd.py", "-r", "www", "--access-log", access)
    old = wait_until(server.workers, "a worker")
    rotate(access)
    server.signal(signal.SIGHUP)
    wait_until(lambda: (now := server.workers()) and now != old and len(now) == 1, "another worker")
    assert connect(server).get("/").status == 200
    wait_until(lambda: access.exists() and access.read_text(), "line in the new file")


def test_relative_logs_stay_where_they_were_when_the_application_changes_the_folder(start, connect, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moving.py").write_text(
        "import os\nos.chdir('elsewhere')\n"
        "def application(environ, start_response):\n    raise RuntimeError('told once')\n"
    )
    access, log = tmp_path / "access.log", tmp_path / "error.log"
    options = ["--access-log", "access.log", "--logfile", "error.log", "moving:application"]
    server = Started(python_command("async_wsgi.py", "--port", port := free_port(), *options), cwd=tmp_path)
    try:
        server.host, server.port = "127.0.0.1", port
        wait_until(lambda: log.exists() and "Serving" in log.read_text(), "start")
        rotate(access, log)
        server.process.send_signal(signal.SIGUSR1)

        def in_the_new_ones():
            assert connect(server).get("/").status == 500
            return access.exists() and access.read_text() and log.exists() and "told once" in log.read_text()

        wait_until(in_the_new_ones, "lines in the new files")
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert server.stop() == 0
    finally:
        end(server.process)


# The application's own logging.

LOGGING_APP = """
import logging, logging.config
{configuration}
def application(environ, start_response):
    if environ["PATH_INFO"] == "/configure":
        logging.config.dictConfig({{"version": 1, "root": {{"level": "INFO"}}}})  # disables existing loggers
    elif environ["PATH_INFO"] == "/fail":
        raise RuntimeError("told once")
    logging.getLogger("mine").info("hello")
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.fixture
def run_logging(start, tmp_path):
    def run(configuration):
        (tmp_path / "logging_app.py").write_text(LOGGING_APP.format(configuration=configuration))
        server = start("async_wsgi.py", "logging_app:application", cwd=tmp_path)
        server.may_complain = True
        return server

    return run


BASIC = 'logging.basicConfig(level=logging.INFO, format="MINE %(message)s")'
DICT = """logging.config.dictConfig({
    "version": 1, "formatters": {"f": {"format": "MINE %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"level": "INFO", "handlers": ["h"]},
})"""


@pytest.mark.parametrize("configuration", [BASIC, DICT], ids=["basicConfig", "dictConfig"])
def test_application_sets_up_its_own_logging(run_logging, connect, configuration):
    server = run_logging(configuration)
    assert connect(server).get("/").status == 200
    assert server.stop() == ["MINE hello"]


@pytest.mark.parametrize("configuration", [BASIC, DICT], ids=["basicConfig", "dictConfig"])
def test_our_records_are_there_once_however_the_application_logs(run_logging, connect, configuration):
    server = run_logging(configuration)
    for request in ("/fail", "/configure", "/fail"):
        connect(server).get(request)
    lines = server.stop()
    ours = [line for line in lines if LINE.fullmatch(line)]
    assert ["/fail" in line for line in ours] == [True, True]
    assert lines.count("RuntimeError: told once") == 2


def test_application_without_logging_of_its_own_has_pythons_defaults(run_logging, connect):
    server = run_logging("logging.getLogger('mine').warning('look out')")
    assert connect(server).get("/").status == 200
    assert server.log_path.read_text().splitlines()[0] == "look out"
    assert server.stop() == ["look out"]


def test_each_line_has_time_name_and_process(start, connect):
    server = start("httpd.py", "-r", "www", "--log", "debug")
    connect(server).get("/")
    server.stop()
    lines = server.log_path.read_text().splitlines()
    assert len(lines) > 1
    assert all(LINE.fullmatch(line) for line in lines)


# At most one line a second of a kind.


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(logs, "time", clock)
    monkeypatch.setattr(logs, "_kinds", {})
    return clock


def test_thousands_of_a_kind_are_one_line_a_second_with_a_count(clock, caplog):
    for second in range(3):
        clock.now = 1000.0 + second
        for number in range(1000):
            logs.warn_seldom("%s is too long: %d", "body", number)
        logs.warn_seldom("no room for %s", "anybody")
    assert [record.getMessage() for record in caplog.records] == [
        "body is too long: 0",
        "no room for anybody",
        "body is too long: 0 (1000 times)",
        "no room for anybody",
        "body is too long: 0 (1000 times)",
        "no room for anybody",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_what_was_kept_back_is_told_when_the_second_is_over(clock, caplog):
    for number in range(10):
        logs.warn_seldom("number %d", number)
    logs.tell_kept_back()
    assert [record.getMessage() for record in caplog.records] == ["number 0"]
    clock.now += 1
    logs.tell_kept_back()
    logs.tell_kept_back()
    assert [record.getMessage() for record in caplog.records] == ["number 0", "number 9 (9 times)"]


def test_at_the_end_all_that_was_kept_back_is_told(clock, caplog):
    logs.warn_seldom("over %d%%", 100)
    logs.warn_seldom("over %d%%", 200)
    logs.tell_kept_back(all=True)
    assert [record.getMessage() for record in caplog.records] == ["over 100%", "over 200%"]

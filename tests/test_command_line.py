"""The programs as they are started: options, logs, signals, workers, and how they end."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PATIENCE, ROOT, group_members, python_command, wait_until

import async_wsgi
import httpd

HTTPD, WSGI = "httpd.py", "async_wsgi.py"


def run(script, *options, cwd=ROOT):
    """Run a command that ends by itself."""
    command = python_command(script, *options)
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)


def port_is_free(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        return True


# What cannot start says why in one line.


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (HTTPD, ["-w", "0"]),
        (HTTPD, ["-w", "-1"]),
        (HTTPD, ["-w", "many"]),
        (HTTPD, ["--port", "65536"]),
        (HTTPD, ["--port", "http"]),
        (HTTPD, ["--port", "\u0661"]),
        (HTTPD, ["--log", "loud"]),
        (HTTPD, ["-r", "no-such-folder"]),
        (HTTPD, ["-r", "README.md"]),
        (HTTPD, ["--unknown"]),
        (HTTPD, ["surplus"]),
        (WSGI, []),
        (WSGI, ["no_such_module:application", "--port", "0"]),
        (WSGI, ["my_app:no_such_name", "--port", "0"]),
        (WSGI, ["my_app:__doc__", "--port", "0"]),
        (WSGI, ["my_app:application", "-w", "0"]),
        (WSGI, ["my_app:application", "--threads", "1001"]),
    ],
)
def test_bad_usage_is_one_line_and_status_2(script, options):
    result = run(script, *options)
    lines = [line for line in result.stderr.splitlines() if " Serving HTTP on " not in line]
    assert result.returncode == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--max-body", "lots"], ["--max-body", "G"], ["--max-body", "-1"], ["--max-body", "1T"],
        ["--spool-total", "1.5G"],
        ["--header-timeout", "0"], ["--body-timeout", "0"], ["--idle-timeout", "-1"], ["--idle-timeout", "1e3"],
    ],
)  # fmt: skip
def test_limit_that_makes_no_sense_is_named_in_one_line(options, capsys):
    with pytest.raises(SystemExit) as stop:
        httpd.parse_args(options)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0] in line


@pytest.mark.parametrize("variable", [False, True], ids=["option", "environment"])
def test_each_option_with_a_value_needs_one(variable, capsys, monkeypatch):
    """An unset variable of the shell must not mean "stay root", or "no TLS"."""
    with pytest.raises(SystemExit):
        async_wsgi.parse_args(["--help"])
    options = re.findall(r"^  (?:-\w.*, )?(--[\w-]+) \S", capsys.readouterr().out, re.M)
    repeated = {"--bind", "--unix", "--type", "--header", "--static", "--trusted-proxy"}
    assert len(options) > 35, options
    for option in sorted(set(options) - (repeated if variable else set())):  # no line is no value
        name = "ASYNCHTTPD_" + option[2:].replace("-", "_").upper()
        with monkeypatch.context() as environ, pytest.raises(SystemExit) as stop:
            if variable:
                environ.setenv(name, "")
            async_wsgi.parse_args(["my_app:application", *([] if variable else [f"{option}="])])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert (name if variable else option) in line


@pytest.mark.parametrize(
    "options",
    [
        ["--reload", "-w", "2"], ["--request-timeout", "5"],
        ["--script-name", "app"], ["--script-name", "/"], ["--script-name", "/a b"],
        ["--static", "/static"], ["--static", "static=www"], ["--static", "/static=no-such-folder"],
        ["--trusted-proxy", "localhost"], ["--trusted-proxy", "10.0.0.1/8"],
    ],
)  # fmt: skip
def test_option_of_an_application_that_makes_no_sense_is_named_in_one_line(options, capsys):
    with pytest.raises(SystemExit) as stop:
        async_wsgi.parse_args(["my_app:application", *options])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0] in line


def test_sizes_may_be_said_in_powers_of_1024():
    sizes = [httpd.parse_args(["--max-body", text]).max_body for text in ("1000", "64k", "100M", "2G", "0")]
    assert sizes == [1000, 64 * 1024, 100 * 1024**2, 2 * 1024**3, 0]


def test_limits_of_the_command_line_are_kept(start, connect):
    server = start(HTTPD, "-r", "www", "--max-body", "1K", "--idle-timeout", 1, "--header-timeout", 1)
    client, idle, slow = connect(server), connect(server), connect(server)
    slow.send(b"GET / HTTP/1.1\r\nHost")
    assert idle.get("/").status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
    assert client.read_answer().status == 413
    assert slow.read_answer().status == 408
    assert idle.read_rest() == b""
    assert any("answering 413" in line for line in server.stop())


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        ("sys.version_info = (3, 10, 9)", ["3.11", "3.10"]),
        ("sys.modules['asyncore'] = sys.modules['asynchat'] = None", ["pip install pyasyncore pyasynchat"]),
    ],
    ids=["Python 3.10", "Python 3.12 alone"],
)
def test_python_that_lacks_something_is_told_in_one_line(preparation, words):
    code = f"import sys; {preparation}; import httpd"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert all(word in line for word in words)


def test_port_that_is_taken_is_one_line_and_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        commands = ([HTTPD], [WSGI, "my_app:application"])
        with ThreadPoolExecutor() as pool:  # together: each waits a while for the port
            results = list(pool.map(lambda command: run(*command, "--port", port), commands))
    for result in results:
        assert (result.returncode, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert str(port) in result.stderr


@pytest.mark.parametrize("options", [["--host", "192.0.2.1"], ["--host", "no such host"]])
def test_address_that_is_not_ours_is_one_line_and_status_1(options):
    result = run(HTTPD, "--port", "0", *options)
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_log_that_cannot_be_opened_is_one_line_and_status_1(tmp_path):
    result = run(HTTPD, "--port", "0", "--logfile", tmp_path / "missing" / "log")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "missing" in result.stderr


def test_exception_inside_the_application_module_shows_its_traceback(tmp_path):
    (tmp_path / "broken_app.py").write_text("import no_such_dependency\n")
    result = run(WSGI, "broken_app:application", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert "broken_app.py" in result.stderr
    assert "no_such_dependency" in result.stderr


@pytest.mark.parametrize("script", [HTTPD, WSGI])
def test_help_names_every_option_of_the_handout(script):
    result = run(script, "--help")
    assert result.returncode == 0
    for option in ("--host", "--port", "--log", "--logfile", "-w", "-r"):
        assert option in result.stdout


# Start.


@pytest.mark.parametrize("workers", [1, 4])
def test_start_up_line_tells_url_root_and_workers(start, workers):
    server = start(HTTPD, "-r", "www", "-w", workers)
    line = server.log_path.read_text().splitlines()[0]
    match = re.fullmatch(r"\S+ \S+ \S+ httpd: (\d+) Serving HTTP on (\S+) \(root (\S+), (\d+) workers?\)", line)
    assert match, line
    assert int(match[1]) == server.pid
    assert match[2] == server.url
    assert match[3] == str(ROOT / "www")
    assert int(match[4]) == workers
    server.wait_serving(workers)


def test_every_worker_serves(start, connect):
    server = start(WSGI, "my_app:application", "-w", 2)
    server.wait_serving(2)
    for _ in range(20):
        assert connect(server).get("/").body == b"Hello World"


def test_ipv6_address_is_in_brackets_in_the_url(start, connect):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = start(HTTPD, "-r", "www", "--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert connect(server).get("/").status == 200


# Logs.


def test_logfile_takes_the_log_and_stderr_stays_empty(tmp_path):
    log = tmp_path / "log"
    command = python_command(HTTPD, "--port", "0", "-r", "www", "--logfile", log)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: log.exists() and " Serving HTTP on " in log.read_text(), "line in the log")
            assert re.search(rf" httpd: {process.pid} Serving HTTP on http://127\.0\.0\.1:\d+/ ", log.read_text())
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 0)])
def test_log_level_decides_what_is_logged(start, connect, level, lines):
    server = start(HTTPD, "-r", "www", "--log", level)
    client = connect(server)
    assert client.get("/no-such-file").status == 404
    client.close()
    wanted = [line for line in server.stop() if re.search("/no-such-file.*404", line)]
    assert len(wanted) == lines
    for line in wanted:
        assert re.search(r" httpd: \d+ ", line)


def test_log_level_warning_says_nothing_when_all_is_well():
    command = python_command(HTTPD, "--port", "0", "--log", "warning")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as process:
        wait_until(lambda: group_members(process.pid)[1:], "start of the worker")
        process.terminate()
        lines = process.communicate(timeout=PATIENCE)[1].splitlines()
    assert [line for line in lines if b"running as root" not in line] == []  # where the tests do
    assert process.returncode == 0


# Signals, and what is left after them.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [[HTTPD, "-r", "www", "-w", 4], [WSGI, "my_app:application", "-w", 4]])
def test_signal_to_the_parent_ends_everything_and_frees_the_port(start, connect, number, command):
    server = start(*command)
    client = connect(server)
    assert client.get("/").status == 200  # then idle
    server.wait_serving(4)
    started = time.monotonic()
    server.signal(number)
    assert server.wait() == 0
    assert time.monotonic() - started < 5  # a second, on a machine that does nothing else
    assert group_members(server.pid) == []
    assert port_is_free(server.port)
    assert server.stop() == []


def test_ctrl_c_reaches_the_whole_group_and_ends_it_quietly(start):
    server = start(HTTPD, "-r", "www", "-w", 4)
    server.wait_serving(4)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert server.stop() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_start_ends_it(start, number):
    for _ in range(5):
        server = start(HTTPD, "-r", "www", "-w", 4)  # the line comes before the workers do
        server.signal(number)
        assert server.wait() == 0
        assert server.stop() == []


def test_request_under_way_is_finished_before_the_end(start, connect, tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(30 * 1024 * 1024)
    server = start(HTTPD, "-r", tmp_path)
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.sock.recv(15, socket.MSG_PEEK) == b"HTTP/1.1 200 OK"
    server.signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "end of accepting")
    assert len(client.read_answer().body) == 30 * 1024 * 1024
    assert client.read_rest() == b""
    assert server.wait() == 0


def refuses(server):
    try:
        socket.create_connection((server.host, server.port), PATIENCE).close()
    except OSError:
        return True
    return False


def test_second_signal_ends_it_at_once(start, connect, tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(30 * 1024 * 1024)
    server = start(HTTPD, "-r", tmp_path)
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sock.recv(1)
    server.signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "end of accepting")
    server.signal(signal.SIGTERM)
    started = time.monotonic()
    assert server.wait() == 0
    assert time.monotonic() - started < 5  # not the thirty seconds of grace


def test_worker_that_is_killed_is_replaced(start, connect):
    server = start(HTTPD, "-r", "www", "-w", 2)
    server.wait_serving(2)
    victim, survivor = server.workers()
    os.kill(victim, signal.SIGKILL)
    workers = wait_until(lambda: len(w := server.workers()) == 2 and victim not in w and w, "replacement")
    assert survivor in workers
    assert connect(server).get("/").status == 200
    lines = server.stop()
    assert len(lines) == 1
    assert str(victim) in lines[0]
    assert "SIGKILL" in lines[0]


def test_worker_that_ends_before_it_serves_ends_the_server(tmp_path):
    (tmp_path / "leaving.py").write_text("raise SystemExit(7)\n")
    result = run(WSGI, "leaving:application", "--port", "0", "-w", "4", cwd=tmp_path)
    assert result.returncode == 7


def test_workers_leave_when_the_parent_is_killed(start):
    server = start(HTTPD, "-r", "www", "-w", 2, "--status", 0)
    server.wait_serving(2)
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: group_members(server.pid) == [], "end of the workers")
    assert port_is_free(server.port)

"""The access log: what stands in it, that nothing from the wire can forge it, and that losing it harms nobody."""

import collections
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, group_members, python_command, running_servers, wait_until
from properties import given, st

from asynchttpd import accesslog

COMBINED = re.compile(
    r'(?P<client>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?P<request>(?:[^"\\]|\\x[0-9a-f]{2})*)"'
    r' (?P<status>\d{3}) (?P<sent>\d+) "(?P<referer>(?:[^"\\]|\\x[0-9a-f]{2})*)"'
    r' "(?P<agent>(?:[^"\\]|\\x[0-9a-f]{2})*)" (?P<duration>\d+\.\d{6}) (?P<worker>\d+) (?P<end>aborted|-)'
)
HOSTILE = [
    b"\x1b[31mred\x1b]2;title\x07",
    b"\x9b31m\x7f",
    b'" 200 0 "x',
    b'","admin":true,"x":"',
    b"%s%n{0}{worker}\\x0a\\",
    b"\xc3\xa9\xe2\x80\xa8\xff",
]


@pytest.fixture
def run(tmp_path):
    """Return a function: run(*options, **popen) serves www and returns the Server."""
    with running_servers(tmp_path) as servers:
        yield lambda *options, **popen: servers(
            python_command("httpd.py", "--port", 0, "-r", ROOT / "www", *options), **popen
        ).wait_started()


def lines_of(path, count):
    """Return the lines of *path* when there are *count*, and nothing behind them."""
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"{count} lines in the log")
    text = path.read_bytes().decode("ascii")
    assert text.endswith("\n")
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == count
    return lines


def entry(**values):
    standard = accesslog.Entry(0.0, "127.0.0.1", "GET / HTTP/1.1", 200, 5, 205, "", "", 0.25, 42, False)
    return standard._replace(**values)


def opened_files(pid):
    """Return where the descriptors of process *pid* lead."""
    paths = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we looked
            paths.add(os.readlink(link))
    return paths


def test_combined_line_as_apache_writes_it():
    line = accesslog.combined(entry(referer="http://a/", user_agent="curl/8", aborted=True))
    assert line == (
        '127.0.0.1 - - [01/Jan/1970:00:00:00 +0000] "GET / HTTP/1.1" 200 5 "http://a/" "curl/8" 0.250000 42 aborted\n'
    )


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_no_text_can_leave_its_field(request_line, agent):
    """J1, J2, J3: whatever bytes; the line is one, is ASCII, and says what was sent."""
    made = entry(request_line=request_line, user_agent=agent)
    match = COMBINED.fullmatch(accesslog.combined(made).removesuffix("\n"))
    assert match
    unescaped = re.sub(r"\\x(..)", lambda code: chr(int(code[1], 16)), match["agent"])
    assert unescaped == (agent or "-")
    line = accesslog.as_json(made)
    assert re.fullmatch(r"[ -~]+\n", line)
    assert json.loads(line)["user_agent"] == agent


@pytest.mark.parametrize("format", ["combined", "json"])
def test_long_texts_are_cut(format):
    long = "\x1b" * 2**20
    line = accesslog.FORMATS[format](entry(request_line=long, referer=long, user_agent=long))
    assert len(line) <= select.PIPE_BUF


@pytest.mark.parametrize(
    "text", ["a" * 1024, "a" * 5000, "\x9b" * 256, "\x9b" * 257, "a" * 1023 + '"', '"' + "a" * 1020]
)
def test_what_is_cut_stays_readable(text):
    made = entry(request_line=text, referer=text, user_agent=text)
    match = COMBINED.fullmatch(accesslog.combined(made).removesuffix("\n"))
    assert match["request"] == match["referer"] == match["agent"]
    assert len(match["agent"]) in (256, 1024)
    assert len(match["agent"]) == 1024 or len(accesslog.UNSAFE.sub(accesslog.hexadecimal, text)) > 1024
    assert text.startswith(json.loads(accesslog.as_json(made))["user_agent"])


def test_lines_of_a_long_turn_do_not_pile_up(tmp_path):
    log = accesslog.AccessLog(str(tmp_path / "access.log"))
    for _ in range(log.most_lines):
        log.write(entry())
    assert len(lines_of(tmp_path / "access.log", log.most_lines)) == log.most_lines
    os.close(log.output.fd)


@pytest.mark.parametrize("format", ["combined", "json"])
def test_one_line_for_each_answer(run, connect, tmp_path, format):
    path = tmp_path / "access.log"
    server = run("--access-log", path, "--log-format", format)
    client = connect(server)
    found = client.get("/index.html", "User-Agent: tester", "Referer: http://a/b", "Authorization: Basic c2VjcmV0")
    missing = client.get("/nothing?q=%0a")
    client.get("/index.html", "Cookie: secret", method="HEAD")
    client.send(b"GET / HTTP/1.1\r\n\r\n")  # no Host: refused
    refused = client.read_answer()
    assert refused.status == 400
    lines = lines_of(path, 4)
    assert not any("secret" in line or "c2VjcmV0" in line for line in lines)
    if format == "json":
        first, second, _, last = answers = [json.loads(line) for line in lines]
        assert abs(first["time"] - time.time()) < 60
        assert (first["client"], first["request_line"]) == ("127.0.0.1", "GET /index.html HTTP/1.1")
        assert (first["referer"], first["user_agent"], first["aborted"]) == ("http://a/b", "tester", False)
        assert [seen["status"] for seen in answers] == [200, 404, 200, 400]
        assert (second["request_line"], second["referer"]) == ("GET /nothing?q=%0a HTTP/1.1", "")
        assert (last["request_line"], last["duration"]) == ("", 0)  # there was none that could be read
        sent, worker, duration = [seen["body_sent"] for seen in answers], first["worker"], first["duration"]
        assert all(100 < seen["sent"] - seen["body_sent"] < 1000 for seen in answers)  # a head
    else:
        first, second, _, _ = answers = [COMBINED.fullmatch(line) for line in lines]
        assert first["request"] == "GET /index.html HTTP/1.1"
        assert (first["referer"], first["agent"], first["end"]) == ("http://a/b", "tester", "-")
        assert [seen["status"] for seen in answers] == ["200", "404", "200", "400"]
        assert second["referer"] == "-"
        sent = [int(seen["sent"]) for seen in answers]
        worker, duration = int(first["worker"]), float(first["duration"])
    assert sent == [len(found.body), len(missing.body), 0, len(refused.body)]
    assert worker in server.workers()
    assert 0 < duration < PATIENCE


@pytest.mark.parametrize("format", ["combined", "json"])
def test_hostile_bytes_stay_in_their_field(run, connect, tmp_path, format):
    path = tmp_path / "access.log"
    server = run("--access-log", path, "--log-format", format)
    for text in HOSTILE:
        client = connect(server)
        client.send(b"GET /%b HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\nReferer: %b\r\n\r\n" % ((text,) * 3))
        client.half_close()
        assert client.read_rest().startswith(b"HTTP/1.1 ")
        connect(server).get("/", f"User-Agent: {text.decode('latin-1')}")  # the target may have been refused
    for line in lines_of(path, 2 * len(HOSTILE)):
        assert re.fullmatch("[ -~]+", line)
        assert json.loads(line)["client"] == "127.0.0.1" if format == "json" else COMBINED.fullmatch(line)


def test_answer_cut_off_by_the_client_is_flagged(run, connect, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "large").write_bytes(bytes(20 * 2**20))
    path = tmp_path / "access.log"
    server = run("--access-log", path, "--log-format", "json", "-r", tmp_path / "site")
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sock.recv(10)
    client.reset()
    (line,) = lines_of(path, 1)
    seen = json.loads(line)
    assert (seen["status"], seen["aborted"]) == (200, True)
    assert 0 < seen["sent"] < 20 * 2**20


def test_client_is_the_one_that_a_trusted_proxy_names(start, connect, tmp_path):
    path = tmp_path / "access.log"
    options = ["--trusted-proxy", "127.0.0.1", "--static", f"/static={ROOT / 'www'}", "--access-log", path]
    server = start("async_wsgi.py", "my_app:application", *options)
    client = connect(server)
    forwarded = "X-Forwarded-For: 1.1.1.1, 203.0.113.7"
    assert client.get("/", forwarded).status == 200
    assert client.get("/").status == 200  # nothing is left of the one before
    assert client.get("/static/index.html", forwarded).status == 200
    assert client.get("/", forwarded, "Host: b").status == 400  # a head that nobody can believe
    clients = [line.split()[0] for line in lines_of(path, 4)]
    assert clients == ["203.0.113.7", "127.0.0.1", "203.0.113.7", "127.0.0.1"]


def test_client_of_a_server_that_trusts_nobody_is_the_peer(start, connect, tmp_path):
    path = tmp_path / "access.log"
    server = start("async_wsgi.py", "my_app:application", "--access-log", path)
    assert connect(server).get("/", "X-Forwarded-For: 203.0.113.7").status == 200
    (line,) = lines_of(path, 1)
    assert line.startswith("127.0.0.1 ")


def test_no_access_log_unless_asked_for(run, connect):
    server = run()
    connect(server).get("/")
    assert server.stop() == []


def test_stdout(connect, tmp_path):
    with running_servers(tmp_path) as servers:
        server = servers(python_command("httpd.py", "--port", 0, "--access-log", "-"), cwd=ROOT / "www")
        server.wait_started()
        for _ in range(3):
            connect(server).get("/", "Connection: close")
        wait_until(lambda: len(server.log_lines()) == 3, "three lines")
        assert all(COMBINED.fullmatch(line) for line in server.stop())


# Losing it (R8, R9).


def test_full_disk_never_stops_serving(run, connect):
    server = run("--access-log", "/dev/full")
    client = connect(server)
    for _ in range(200):
        assert client.get("/").status == 200
    first, at_the_end = server.stop()
    assert first.endswith(" access log: No space left on device; lines lost: 1")
    assert at_the_end.endswith("; lines lost: 199")


@pytest.fixture
def serve_into_pipe(run, tmp_path):
    """Return a function that serves with a named pipe as access log; it returns the Server and the reader's end."""
    opened = []

    def serve(*options):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        opened.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        return run("--access-log", path, *options), opened[0]

    yield serve
    for fd in opened:
        os.close(fd)


def test_pipe_without_reader_never_stops_serving(serve_into_pipe, connect):
    server, reader = serve_into_pipe()
    client = connect(server)
    assert client.get("/").status == 200
    wait_until(lambda: select.select([reader], [], [], 0)[0], "the first line")
    with open("/dev/null") as nothing:
        os.dup2(nothing.fileno(), reader)  # the reader leaves
    for _ in range(200):
        assert client.get("/").status == 200
    first, at_the_end = server.stop()
    assert first.endswith(" access log: Broken pipe; lines lost: 1")
    assert at_the_end.endswith("; lines lost: 199")


def test_reader_that_does_not_read_holds_up_nobody(serve_into_pipe, connect):
    """With several workers: the room that one has seen, another may fill before the first has written."""
    server, reader = serve_into_pipe("-w", 4)
    clients = [connect(server) for _ in range(12)]
    request = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n\r\n" % (b"x" * 1000)
    for _ in range(60):
        for client in clients:
            client.send(request)
        for client in clients:
            assert client.read_answer().status == 200
    data = b""
    while True:
        try:
            data += os.read(reader, 65536)
        except BlockingIOError:
            break
    assert all(COMBINED.fullmatch(line) for line in data.decode().removesuffix("\n").split("\n"))
    clients[0].get("/")
    wait_until(lambda: select.select([reader], [], [], 0)[0], "further lines")
    assert all("its reader does not keep up; lines lost: " in line for line in server.stop())


def test_lines_of_one_turn_are_written_together(connect):
    """Each write to a datagram socket is one datagram."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    command = python_command("httpd.py", "--port", 0, "--access-log", "-")
    with ours, subprocess.Popen(command, cwd=ROOT / "www", stdout=theirs, stderr=subprocess.PIPE) as process:
        theirs.close()
        try:
            port = int(re.search(rb"http://127\.0\.0\.1:(\d+)/", process.stderr.readline())[1])
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(20 * b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
                ours.settimeout(PATIENCE)
                lines, writes = b"", 0
                while lines.count(b"\n") < 20:
                    lines += ours.recv(65536)
                    writes += 1
        finally:
            process.terminate()
    assert all(COMBINED.fullmatch(line) for line in lines.decode().splitlines())
    assert writes < 10  # one, if the machine does nothing else


def test_last_line_is_written_before_the_end(run, connect, tmp_path):
    path = tmp_path / "access.log"
    server = run("--access-log", path)
    client = connect(server)
    client.send(b"POST /index.html HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    assert client.read_answer().status == 405
    server.stop()
    lines_of(path, 1)


# Sharing and rotation (R10).


def test_many_processes_write_whole_lines(run, connect, tmp_path):
    path = tmp_path / "access.log"
    server = run("--access-log", path, "-w", 4)
    clients = []

    def several_workers_serve():  # the first one is announced; the others may still be starting
        clients.append(connect(server))
        assert clients[-1].get("/").status == 200
        return len({COMBINED.fullmatch(line)["worker"] for line in lines_of(path, len(clients))}) > 1

    wait_until(several_workers_serve, "answers of a second worker")
    greetings = len(clients)
    clients += [connect(server) for _ in range(16 - greetings)]
    for number in range(50):
        for client in clients:
            client.send(b"GET /?%d HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n\r\n" % (number, b"\x9b" * 900))
        for client in clients:
            assert client.read_answer().status == 200
    entries = [COMBINED.fullmatch(line) for line in lines_of(path, greetings + 50 * len(clients))]
    assert all(entries)
    seen = collections.Counter(found["request"] for found in entries[greetings:])
    assert seen == {f"GET /?{number} HTTP/1.1": len(clients) for number in range(50)}


def test_usr1_opens_both_logs_again_in_every_process(run, connect, tmp_path):
    access, log = tmp_path / "access.log", tmp_path / "error.log"
    with socket.create_server(("127.0.0.1", 0)) as probe:  # the start-up line goes to the file: choose the port here
        port = probe.getsockname()[1]
    command = python_command(
        "httpd.py", "--port", port, "-w", 2, "--log", "debug", "--access-log", access, "--logfile", log
    )
    server = subprocess.Popen(command, cwd=ROOT / "www", start_new_session=True)
    try:
        server.host, server.port = "127.0.0.1", port
        wait_until(lambda: len(group_members(server.pid)) == 3, "start of master and workers")
        clients = []

        def both_serve():
            clients.append(connect(server))
            assert clients[-1].get("/before").status == 404
            return len(set(re.findall(r" (\d+) -$", access.read_text(), re.M))) == 2

        wait_until(both_serve, "serving of both workers")
        access.rename(tmp_path / "access.1")
        log.rename(tmp_path / "error.1")
        server.send_signal(signal.SIGUSR1)
        wait_until(access.exists, "new access log")
        wait_until(log.exists, "new log")

        def all_write_the_new():
            for client in clients:
                assert client.get("/after").status == 404
            workers = set(re.findall(r" (\d+) -$", access.read_text(), re.M))
            logged = set(re.findall(r'httpd: (\d+) .*"GET /after', log.read_text()))
            return len(workers) > 1 and workers <= logged

        wait_until(all_write_the_new, "writing into the new files by every worker")
        settled = (tmp_path / "access.1").stat().st_size, (tmp_path / "error.1").stat().st_size
        for client in clients:
            assert client.get("/last").status == 404
        assert settled == ((tmp_path / "access.1").stat().st_size, (tmp_path / "error.1").stat().st_size)
    finally:
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_stack_of_a_hung_worker_goes_to_the_new_log(tmp_path):
    """The descriptor that shows the stack must not have become a client's connection."""
    (tmp_path / "hangs.py").write_text(
        "import time\n"
        "def application(environ, start_response):\n"
        "    while environ['PATH_INFO'] == '/hang':\n"
        "        time.sleep(0.1)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
    )
    log, access = tmp_path / "error.log", tmp_path / "access.log"
    options = ["--access-log", access, "hangs:application"]
    with running_servers(tmp_path) as servers:
        server = servers(
            python_command("async_wsgi.py", "--port", 0, "--timeout", 2, "--logfile", log, *options), cwd=tmp_path
        )
        wait_until(lambda: log.exists() and "Serving" in log.read_text(), "start")
        port = int(re.search(r":(\d+)/", log.read_text())[1])
        wait_until(server.workers, "a worker")
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as first:
            first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert first.recv(100)
            log.rename(tmp_path / "error.1")
            server.signal(signal.SIGUSR1)
            wait_until(log.exists, "new log")
            (worker,) = server.workers()
            wait_until(lambda: str(log) in opened_files(worker), "the worker to open it, too")
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
                received = client.makefile("rb").read()
        assert received.count(b"HTTP/1.1 ") == 1
        wait_until(lambda: "in application" in log.read_text(), "stack in the new log")
    lines_of(access, 2)  # also that of the answer that left in the turn which hung


def test_log_that_cannot_be_opened_again_stops_nobody(run, connect, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    server = run("-w", 2, "--access-log", folder / "access.log")
    server.wait_serving(2)
    workers = set(server.workers())
    folder.rename(tmp_path / "moved")
    server.signal(signal.SIGUSR1)
    wait_until(lambda: len(server.log_lines()) == 3, "word of the master and both workers")
    assert connect(server).get("/").status == 200
    lines_of(tmp_path / "moved" / "access.log", 1)
    assert set(server.workers()) == workers
    assert all("cannot open" in line for line in server.stop())

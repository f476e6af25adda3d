"""docs/asyncio.md says that both servers of a pair answer the same. They do."""

import os
import re
import sys
import threading

import pytest
from conftest import ROOT, Server, python_command, running_servers, wait_until

MEBIBYTE = os.urandom(1 << 20)
LISTENING = re.compile(r"Listening on ([\d.]+):(\d+)")
FILES = {"asyncore": "ladder/rung10_files.py", "asyncio": "docs/files_asyncio.py"}
SECRET = b"not of the site"


@pytest.fixture(params=["asyncore", "asyncio"])
def echo_server(request, tmp_path):
    log = tmp_path / "log"
    log.touch()
    server = Server([sys.executable, ROOT / f"docs/echo_{request.param}.py", "--port", "0"], log)
    try:
        # A Server waits for a URL, which has no place in an echo server's line.
        match = wait_until(lambda: LISTENING.search(log.read_text()), "the start-up line")
        server.host, server.port = match[1], int(match[2])
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    (folder / "secret.txt").write_bytes(SECRET)
    site = folder / "site"
    (site / "folder").mkdir(parents=True)
    (site / "index.html").write_bytes(b"<p>Home")
    (site / "empty").touch()
    (site / "large file").write_bytes(MEBIBYTE)
    (site / "link").symlink_to("../secret.txt")
    os.mkfifo(site / "fifo")
    return site


@pytest.fixture(scope="module", params=["asyncore", "asyncio"])
def file_server(request, tmp_path_factory, site):
    with running_servers(tmp_path_factory.mktemp("files")) as run:
        yield run(python_command(FILES[request.param], "--port", 0, "-r", site), cwd=ROOT).wait_started()


def resetting_clients(connect, server, request):
    """Have clients leave with a reset before, during and after *request*."""
    for data in (b"", request[:10], request):
        for _ in range(5):
            client = connect(server)
            client.send(data)
            client.reset()


def test_a_mebibyte_comes_back_to_a_client_that_sends_first_and_reads_at_the_same_time(echo_server, connect):
    client = connect(echo_server)
    sender = threading.Thread(target=lambda: (client.send(MEBIBYTE), client.half_close()))
    sender.start()
    assert client.read_rest() == MEBIBYTE
    sender.join()


def test_client_that_does_not_read_is_not_read_from(echo_server, connect):
    client = connect(echo_server)
    client.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(64):
            client.send(MEBIBYTE)
    assert echo_server.memory() < 64 << 20


def test_echo_outlives_resets(echo_server, connect):
    resetting_clients(connect, echo_server, MEBIBYTE)
    client = connect(echo_server)
    client.send(b"hello\n")
    assert client.reader.readline() == b"hello\n"


def test_files_come_byte_for_byte_on_one_connection(file_server, connect):
    client = connect(file_server)
    for target, body in {
        "/": b"<p>Home",
        "/large%20file": MEBIBYTE,
        "/empty?x": b"",
        "/index.html": b"<p>Home",
    }.items():
        answer = client.get(target)
        assert (answer.status, answer.body) == (200, body)
        assert answer.fields == {"content-length": str(len(body)), "connection": "keep-alive"}


@pytest.mark.parametrize(
    "target",
    [
        *("/missing", "/folder", "/folder/", "/index.html/", "/fifo", "/link", "//etc/passwd"),
        *("/../secret.txt", "/%2e%2e/secret.txt", "/folder/../../secret.txt", "/..%2fsecret.txt"),
    ],
)
def test_nothing_else_is_404(file_server, connect, target):
    client = connect(file_server)
    answer = client.get(target)
    assert (answer.status, answer.body) == (404, b"")
    assert client.get("/").status == 200


@pytest.mark.parametrize(
    "status, request_bytes",
    [
        (400, b"GET\r\n\r\n"),
        (400, b"GET / HTTP/2.0\r\n\r\n"),
        (400, b"GET index.html HTTP/1.1\r\n\r\n"),
        (400, b"GET /%00 HTTP/1.1\r\n\r\n"),
        (400, b"GET /%ff HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\nhello"),
        (400, b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
        (405, b"DELETE / HTTP/1.1\r\n\r\n"),
    ],
)
def test_the_rest_is_refused_and_closed(file_server, connect, status, request_bytes):
    client = connect(file_server)
    client.send(request_bytes)
    assert client.read_answer().status == status
    try:
        assert client.read_rest() == b""
    except ConnectionResetError:
        pass  # closed with input unread


@pytest.mark.parametrize("version, field, kept", [("1.1", "A: b", True), ("1.1", "Connection: close", False)])
@pytest.mark.parametrize("target", ["/", "/missing"])
def test_connection_is_kept_as_asked(file_server, connect, version, field, kept, target):
    client = connect(file_server)
    client.get(target, field, version=version)
    if kept:
        assert client.get("/").status == 200
    else:
        assert client.read_rest() == b""


def test_a_1_0_client_has_to_ask_for_keep_alive(file_server, connect):
    client = connect(file_server)
    assert client.get("/", "Connection: keep-alive", version="1.0").fields["connection"] == "keep-alive"
    assert client.get("/", version="1.0").fields["connection"] == "close"
    assert client.read_rest() == b""


def test_pipelined_requests_are_answered_in_order_with_few_files_open(file_server, connect):
    client = connect(file_server)
    targets = [b"/large%20file", b"/index.html", b"/missing"] * 100
    client.send(b"".join(b"GET %b HTTP/1.1\r\n\r\n" % target for target in targets))
    for target in targets:
        answer = client.read_answer()
        assert file_server.descriptors() < 20
        assert (answer.status, len(answer.body)) == {
            b"/large%20file": (200, 1 << 20),
            b"/index.html": (200, 7),
            b"/missing": (404, 0),
        }[target]


def test_a_request_may_come_in_pieces_and_a_head_that_does_not_end_is_cut_off(file_server, connect):
    client = connect(file_server)
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
        client.send(bytes([byte]))
    assert client.read_answer().body == b"<p>Home"
    endless = connect(file_server)
    with pytest.raises(ConnectionError):
        endless.send(b"x" * (8 << 20))
        assert endless.sock.recv(1) == b""
        raise ConnectionError("closed")


def test_files_outlive_resets_and_are_closed(file_server, connect):
    connect(file_server).get("/")
    before = file_server.descriptors()
    resetting_clients(connect, file_server, b"GET /large%20file HTTP/1.1\r\n\r\n" * 3)
    assert connect(file_server).get("/large%20file").body == MEBIBYTE
    wait_until(lambda: file_server.descriptors() <= before + 1, "closing of what the clients left")


def code_lines(source):
    return {line.partition("  #")[0].strip() for line in source.splitlines()}


def test_the_page_shows_what_the_files_say():
    page = (ROOT / "docs/asyncio.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    names = ["docs/echo_asyncore.py", "docs/echo_asyncio.py", *FILES.values()]
    for name, block in zip(names, blocks, strict=True):
        assert code_lines(block) <= code_lines((ROOT / name).read_text()), name

"""Where bodies go: memory, then a temporary file, never more of the disk than is allowed."""

import contextlib
import os
import resource
import signal
import stat
import time
from pathlib import Path

import pytest
from conftest import ROOT, handler_command, wait_until

MIB = 1024 * 1024
HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"


def upload(size, chunked):
    if chunked:
        return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % bytes(65536) * (size // 65536)
    return HEAD + b"Content-Length: %d\r\n\r\n" % size + bytes(size)


def open_files(server):
    """Return what the server has open that is a file without a name."""
    links = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we looked
            links.append(os.readlink(entry))
    return [link for link in links if link.endswith("(deleted)")]


@pytest.fixture
def bystander(connect, echo):
    client = connect(echo)
    yield
    assert client.get("/bystander").body == b"GET /bystander"


@pytest.fixture
def full_disk(echo):
    """Return a function: no file of the server may grow above so many bytes, as on a disk that is full."""

    def limit(size):
        resource.prlimit(echo.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    yield limit
    limit(resource.RLIM_INFINITY)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("room", [0, 1, 512 * 1024 + 1, MIB, 2 * MIB - 1])
def test_full_disk_is_507_and_nothing_stays(echo, connect, bystander, full_disk, room, chunked):
    full_disk(room)
    client = connect(echo)
    client.send(upload(2 * MIB, chunked))
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"]) == (507, "close")
    client.half_close()
    assert client.read_rest() == b""
    assert open_files(echo) == []


def test_full_disk_that_has_room_again_is_used(echo, connect, full_disk):
    full_disk(0)
    client = connect(echo)
    client.send(upload(2 * MIB, False))
    assert client.read_answer().status == 507
    full_disk(resource.RLIM_INFINITY)
    client = connect(echo)
    client.send(upload(2 * MIB, False))
    assert client.read_answer().body == bytes(2 * MIB)


def test_long_bodies_go_to_the_folder_of_tmpdir_where_nobody_else_can_read_them(run_command, connect, tmp_path):
    folder = tmp_path / "bodies"
    server = run_command(handler_command("Echo"), env={**os.environ, "TMPDIR": str(folder)}).wait_started()
    client = connect(server)
    client.send(upload(2 * MIB, False))
    assert client.read_answer().body == bytes(2 * MIB)  # there is no such folder: it went to /tmp
    wait_until(lambda: open_files(server) == [], "the end of that body")
    folder.mkdir()
    client = connect(server)
    client.send(upload(2 * MIB, False)[:-1])
    [link] = wait_until(lambda: open_files(server), "the body on the disk")
    assert Path(link).parent == folder
    assert list(folder.iterdir()) == []
    descriptors = Path(f"/proc/{server.pid}/fd").iterdir()
    [mode] = [entry.stat().st_mode for entry in descriptors if os.readlink(entry) == link]
    assert stat.S_IMODE(mode) == 0o600
    client.send(b"\0")
    assert client.read_answer().body == bytes(2 * MIB)


@pytest.fixture(scope="module")
def without_disk(serve_module):
    """A file server that cannot write to any file."""
    server = serve_module("Files", handler={"root": str(ROOT / "www")})
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    return server


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_body_that_nobody_wants_is_not_kept(without_disk, connect, method, framing):
    client = connect(without_disk)
    client.send(upload(2 * MIB, framing == "chunked").replace(b"POST /x", method.encode() + b" /"))
    if framing == "chunked":
        client.send(b"0\r\n\r\n")
    assert client.read_answer(method).status == 200
    assert client.get("/").status == 200  # the body has been read to its end


def test_bodies_share_a_budget_of_the_disk(serve, connect):
    server = serve("Echo", server={"spool_total": 3 * MIB})
    first, second, third, small = (connect(server) for _ in range(4))
    first.send(upload(2 * MIB, False)[:-1])
    wait_until(lambda: open_files(server), "the first body on the disk")
    second.send(upload(2 * MIB, False))
    answer = second.read_answer()
    assert (answer.status, int(answer.fields["retry-after"]) > 0) == (503, True)
    small.send(upload(65536, False))  # in memory
    assert small.read_answer().status == 200
    first.send(b"\0")
    assert first.read_answer().status == 200
    third.send(upload(2 * MIB, False))
    assert third.read_answer().status == 200


def test_budget_is_free_again_after_a_client_has_left(serve, connect):
    server = serve("Echo", server={"spool_total": 3 * MIB})
    first = connect(server)
    first.send(upload(2 * MIB, True))
    wait_until(lambda: open_files(server), "the first body on the disk")
    first.reset()
    wait_until(lambda: not open_files(server), "the end of it")
    second = connect(server)
    second.send(upload(2 * MIB, True) + b"0\r\n\r\n")
    assert second.read_answer().status == 200


# Its time.


def test_bytes_sent_early_buy_no_silence(serve, connect):
    """Once 500 kB bought 17 minutes."""
    client = connect(serve("Echo", handler={"body_timeout": 0.5, "body_rate": 100}))
    client.send(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(50000))
    began = time.monotonic()
    assert client.read_answer().status == 408
    assert time.monotonic() - began < 10  # 500 s, if early bytes counted


def test_body_below_the_rate_is_late_although_each_byte_is_in_time(serve, connect):
    client = connect(serve("Echo", handler={"body_timeout": 1.0, "body_rate": 1000}))
    client.send(HEAD + b"Content-Length: 100000\r\n\r\n")
    for _ in range(1000):
        client.send(b"x")
        if not client.is_silent():
            break
        time.sleep(0.02)
    assert client.read_answer().status == 408


def test_pause_at_the_start_of_a_body_is_no_fault(serve, connect):
    client = connect(serve("Echo", handler={"body_timeout": 20, "body_rate": 10**6, "header_timeout": 0.3}))
    client.send(HEAD + b"Content-Length: 4\r\n\r\n")
    time.sleep(0.6)  # the pause
    client.send(b"body")
    assert client.read_answer().body == b"body"


@pytest.mark.parametrize("half", [b"GET /half HTTP/1.1\r\nHost", HEAD + b"Content-Length: 5\r\n\r\nbo"])
def test_stop_of_the_server_is_not_counted_against_its_clients(serve, connect, half):
    """A laptop that slept, a machine that was paused."""
    server = serve("Echo", handler={"header_timeout": 1.0, "body_timeout": 1.0, "idle_timeout": 1.0}, sweep=0.2)
    client, idle = connect(server), connect(server)
    assert idle.get("/idle").status == 200
    client.send(half)
    server.signal(signal.SIGSTOP)
    time.sleep(2.5)  # the stop
    server.signal(signal.SIGCONT)
    assert idle.get("/idle").status == 200
    client.send(b": a\r\n\r\n" if half.startswith(b"GET") else b"dy!")
    assert client.read_answer().status == 200

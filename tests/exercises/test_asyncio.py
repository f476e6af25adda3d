"""Checks for the exercises of docs/asyncio.md."""

import signal
import time

from conftest import wait_until


def test_timeout(solution, connect):
    server = solution("-r", "www")
    began = time.monotonic()
    silent, slow, kept = (connect(server) for _ in range(3))
    slow.send(b"GET / HTT")
    assert kept.get("/").status == 200
    silent.sock.settimeout(3)
    try:
        assert silent.sock.recv(1) == b"", "nobody has asked"
    except TimeoutError:
        raise AssertionError("a client that says nothing is still there after 3 s") from None
    assert 0.9 < time.monotonic() - began < 3, "one second"
    assert slow.sock.recv(1) == b"", "half a request is none"
    assert connect(server).get("/").status == 200, "others are served"


def test_limit(solution, connect):
    server = solution("-r", "www")
    ten = [connect(server) for _ in range(10)]
    assert [client.get("/").status for client in ten] == [200] * 10
    eleventh = connect(server)
    eleventh.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [client.get("/").status for client in ten] == [200] * 10
    assert eleventh.is_silent(), "the eleventh has to wait"
    ten[5].reset()
    assert eleventh.read_answer().status == 200, "it is served when another has left, however that was"


def test_drain(solution, connect, tmp_path):
    (tmp_path / "large").write_bytes(bytes(30 << 20))
    server = solution("-r", tmp_path)
    client, idle = connect(server), connect(server)
    assert idle.get("/missing").status == 404
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sock.recv(1000)
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(connect, server), "closing of the listener")
    assert server.process.poll() is None, "an answer is under way: the server waits for its end"
    assert len(client.read_rest()) > 29 << 20, "the answer comes whole"
    assert idle.read_rest() == b"", "idle connections are closed"
    assert server.wait() == 0, "exit status 0"


def is_refused(connect, server):
    try:
        connect(server)
    except ConnectionRefusedError:
        return True
    return False

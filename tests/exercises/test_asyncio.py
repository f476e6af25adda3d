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
        assert silent.sock.recv(1) == b"", "the server has sent something before any request"
    except TimeoutError:
        raise AssertionError("a client that says nothing is still there after 3 s") from None
    assert 0.9 < time.monotonic() - began < 3, "the connection was not closed after a second"
    assert slow.sock.recv(1) == b"", "a connection with half a request was not closed"
    assert connect(server).get("/").status == 200, "other clients were not served meanwhile"


def test_limit(solution, connect):
    server = solution("-r", "www")
    ten = [connect(server) for _ in range(10)]
    assert [client.get("/").status for client in ten] == [200] * 10
    eleventh = connect(server)
    eleventh.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [client.get("/").status for client in ten] == [200] * 10
    assert eleventh.is_silent(), "the eleventh client was served, not made to wait"
    ten[5].reset()
    assert eleventh.read_answer().status == 200, "the eleventh client was not served when another had left"


def test_drain(solution, connect, tmp_path):
    (tmp_path / "large").write_bytes(bytes(30 << 20))
    server = solution("-r", tmp_path)
    client, idle = connect(server), connect(server)
    assert idle.get("/missing").status == 404
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sock.recv(1000)
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(connect, server), "closing of the listener")
    assert server.process.poll() is None, "the server ended while an answer was under way"
    assert len(client.read_rest()) > 29 << 20, "the answer under way did not arrive whole"
    assert idle.read_rest() == b"", "an idle connection was not closed"
    assert server.wait() == 0, "the exit status is not 0"


def is_refused(connect, server):
    try:
        connect(server)
    except ConnectionRefusedError:
        return True
    return False

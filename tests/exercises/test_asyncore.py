"""Checks for the exercises of docs/asyncore.md."""

import resource
import time

import pytest
from conftest import wait_until


def test_full(solution, connect):
    server = solution("-r", "www")
    assert connect(server).get("/").status == 200
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (40, 40))
    try:
        crowd = [connect(server) for _ in range(60)]
    except ConnectionError:
        pytest.fail("the server does not listen any more")
    assert is_served(crowd[0]), "a connected client was not served while others waited"
    wait_until(lambda: server.descriptors() >= 20, "accepting of as many as there is room for")
    used = server.cpu_seconds()
    time.sleep(0.5)  # the time over which is measured
    assert server.process.poll() is None, "the server has ended"
    assert server.cpu_seconds() - used < 0.25, "the server tries to accept again and again while clients wait"
    for client in crowd[:40]:
        client.close()
    assert is_served(crowd[-1]), "a client that waited was not served when others had left"


def is_served(client):
    try:
        return client.get("/").status == 200
    except ConnectionError:
        return False


def test_silent(solution, connect):
    server = solution("-r", "www")
    began = time.monotonic()
    silent, slow, kept = (connect(server) for _ in range(3))
    slow.send(b"GET / HTT")
    assert kept.get("/").status == 200
    silent.sock.settimeout(4)
    try:
        assert silent.sock.recv(1) == b"", "the server has sent something before any request"
    except TimeoutError:
        raise AssertionError("a client that says nothing is still there after 4 s") from None
    assert 0.9 < time.monotonic() - began < 4, "it was not closed after a second, and one more for the loop to notice"
    assert slow.sock.recv(1) == b"", "a connection with half a request was not closed"
    assert connect(server).get("/").status == 200, "other clients were not served meanwhile"

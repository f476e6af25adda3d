"""What a worker remembers between requests is bounded in bytes, whatever strangers send."""

import cache_app
import pytest
from conftest import ROOT
from test_wsgi import TESTS

from asynchttpd.answer import checked_fields

MIB = 1024 * 1024


def hostile(path, number):
    """Return a GET of *path* that is as long in each part as the limits allow, and like no other."""
    long = f"{number:04}" + "x" * 8000
    names = ("Host", "Accept-Encoding", "If-None-Match", "If-Range", "Cookie")
    lines = [f"GET {path}?{long} HTTP/1.1", *(f"{name}: {long}" for name in names), f"X-{long}: a"]
    return "\r\n".join([*lines, "\r\n"]).encode()


def hostile_fields(path, number):
    """Return a GET of *path* whose fields are remembered, as many as the limits allow, and other ones on each path."""
    lines = [f"x{field:02}-{len(path):02}-{number:04}: {field:05}" for field in range(98)]
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "\r\n"]).encode()


@pytest.mark.slow
@pytest.mark.parametrize(("make_request", "bound"), [(hostile, MIB), (hostile_fields, 5 * MIB)])
def test_strangers_cannot_fill_the_memory_of_what_is_remembered(start, connect, make_request, bound):
    server = start("async_wsgi.py", "cache_app:application", "--static", f"/static={ROOT / 'www'}", cwd=TESTS)
    client = connect(server)
    for path in ("/static/index.html", "/"):
        for number in range(256):  # as many as each cache has room for
            client.send(make_request(path, number))
            assert client.read_answer().status == 200
    assert int(client.get("/measure").body) < bound


def test_neither_can_an_application():
    before = cache_app.bytes_in_caches()
    for number in range(1000):
        long = "x" * 9000 + str(number)
        checked_fields([("ETag", f'"{number}"'), (f"X-{number}", "x" * 200), ("Location", f"/{long}")])
    assert cache_app.bytes_in_caches() - before < MIB // 4

"""What a worker remembers between requests is bounded in bytes, whatever strangers send."""

import pytest
from conftest import ROOT
from test_wsgi import TESTS

BOUND = 1024 * 1024  # bytes that all caches of a worker may hold


def hostile(path, number):
    """Return a GET of *path* that is as long in each part as the limits allow, and like no other."""
    long = f"{number:04}" + "x" * 8000
    names = ("Host", "Accept-Encoding", "If-None-Match", "If-Range", "Cookie")
    lines = [f"GET {path}?{long} HTTP/1.1", *(f"{name}: {long}" for name in names), f"X-{long}: a"]
    return "\r\n".join([*lines, "\r\n"]).encode()


@pytest.mark.slow
def test_strangers_cannot_fill_the_memory_of_what_is_remembered(start, connect):
    server = start("async_wsgi.py", "cache_app:application", "--static", f"/static={ROOT / 'www'}", cwd=TESTS)
    client = connect(server)
    for path in ("/static/index.html", "/"):
        for number in range(256):  # as many as each cache has room for
            client.send(hostile(path, number))
            answer = client.read_answer()
            assert answer.status == 200
    assert int(answer.body) < BOUND

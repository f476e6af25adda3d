"""Checks for the exercises of docs/loop.md."""

import hashlib
import time

ROUNDS = 1_000_000  # some tenths of a second


def test_sleep(solution, connect):
    server = solution("-r", "www")
    began = time.monotonic()
    sleepers, other = [connect(server) for _ in range(5)], connect(server)
    for sleeper in sleepers:
        sleeper.send(b"GET /sleep/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert other.get("/").status == 200, "GET / still serves the site"
    assert all(sleeper.is_silent() for sleeper in sleepers), "GET / was answered only when the others had slept"
    for sleeper in sleepers:
        assert sleeper.read_answer().status == 200
    assert 1 <= time.monotonic() - began < 3, "five clients slept for a second each, but not at the same time"
    sleepers[0].send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in (b"/sleep/1", b"/nothing")))
    assert sleepers[0].read_answer().status == 200, "the connection did not go on after the answer"
    assert sleepers[0].read_answer().status == 404, "a request that came early was not answered in its turn"


def test_thread(solution, connect):
    server = solution("-r", "www")
    hasher, other = connect(server), connect(server)
    hasher.send(b"GET /hash/%d HTTP/1.1\r\nHost: a\r\n\r\n" % ROUNDS)
    assert other.get("/").status == 200, "GET / still serves the site"
    assert hasher.is_silent(), "GET / was answered only when the other client's hash had been computed"
    answer = hasher.read_answer()
    assert answer.body.decode().strip() == hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ROUNDS).hex()
    hasher.send(b"".join(b"GET /hash/%d HTTP/1.1\r\nHost: a\r\n\r\n" % rounds for rounds in (ROUNDS, 1)))
    answers = [hasher.read_answer() for _ in range(2)]
    assert answers[0].body == answer.body, "the connection did not go on after the answer"
    quick = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1).hex()
    assert answers[1].body.decode().strip() == quick, "a request that came early was not answered in its turn"


def test_lag(solution, connect):
    client = connect(solution("-r", "www"))
    before = client.get("/lag")
    assert before.status == 200
    assert int(before.body) < 300, "GET /lag tells of a late sweep, but nothing has held up the loop yet"
    assert client.get("/block?1500").status == 200
    # The sweep was due within the second.
    assert 400 <= int(client.get("/lag").body) <= 2500, "GET /lag does not tell how long /block?1500 held up the loop"

"""Checks for the exercises of docs/framing.md."""

import base64
import hashlib

HIDDEN = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
GOOD = {
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": b"GET / HTTP/1.1, 0 bytes of body\n",
    b"GET / HTTP/1.1\r\nhOST:a\r\nX-One:\t b\t\r\nX-One: c\r\n\r\n": b"GET / HTTP/1.1, 0 bytes of body\n",
    POST + b"Content-Length: 5\r\n\r\nhello": b"POST / HTTP/1.1, 5 bytes of body\n",
    CHUNKED + b"\r\n5\r\nhello\r\nA\r\n" + bytes(10) + b"\r\n0\r\n\r\n": b"POST / HTTP/1.1, 15 bytes of body\n",
}
AMBIGUOUS = [
    CHUNKED + b"Content-Length: 37\r\n\r\n0\r\n\r\n" + HIDDEN,
    POST + b"Content-Length: 32\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    POST + b"Content-Length: 32\r\nX: a\nContent-Length: 0\r\n\r\n" + HIDDEN,
    POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    POST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    POST + b"Content-Length: +5\r\n\r\nhello",
    POST + b"Content-Length: 0_5\r\n\r\nhello",
    POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n" + HIDDEN,
    CHUNKED + b"\r\n5\r\nhelloXX\r\n0\r\n\r\n" + HIDDEN,
]


def test_mend(solution, connect):
    server = solution()
    client = connect(server)
    for request, text in GOOD.items():
        client.send(request)
        answer = client.read_answer()
        assert (answer.status, answer.body) == (200, text), f"a good request was not answered as before: {request}"
    for request in AMBIGUOUS:
        client = connect(server)
        client.send(request)
        client.half_close()
        try:
            answers = client.read_rest()
        except ConnectionResetError:  # closed before it had read all: no second answer either
            continue
        assert answers.count(b"HTTP/1.1 ") == 1, f"not exactly one answer to {request}"
        assert answers.startswith(b"HTTP/1.1 400 "), f"the answer is not 400 for {request}"


def test_sizes(solution, connect):
    server = solution()
    client = connect(server)
    assert client.get("/", "Content-Length: 1000", "", "x" * 998, method="POST").body.strip() == b"1000"
    assert connect(server).get("/", *["X: a"] * 19, method="OPTIONS").status == 200
    assert connect(server).get("/", *["X: a"] * 20, method="OPTIONS").status == 431
    # Nothing of the body is sent: the head alone says enough.
    assert connect(server).get("/", "Content-Length: 1001", method="POST").status == 413
    chunked = connect(server)
    chunked.send(CHUNKED + b"\r\n3e9\r\n")
    assert chunked.read_answer().status == 413


def test_digest(solution, connect):
    server = solution()
    client = connect(server)

    def put(body, meant):
        digest = base64.b64encode(hashlib.sha256(meant).digest())
        field = b"Content-Digest: sha-256=:%b:\r\n" % digest
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (field, len(body), body))
        return client.read_answer("PUT").status

    assert put(b"hello", b"hello") == 200
    assert put(b"hallo", b"hello") == 400
    assert put(b"", b"") == 200, "the connection did not go on, although the body was read to its end"

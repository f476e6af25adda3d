"""The WSGI application that every server runs in the benchmark; PATH_INFO picks the work."""

import functools
import time

HELLO = b"Hello World\n"
JSON = b'{"quotes": ["%s"]}' % (b"x" * (10 * 1024 - 16))
PIECE = b"p" * 1024
STREAM = PIECE * 100
SLOW_PIECE = b"s" * 16384
SLOW_PIECES = 640  # 10 MiB in all


@functools.cache
def mebibyte_body():
    """Return a body for TLS. Made at the first request for it: else it would count as memory of each worker."""
    return PIECE * 1024


def answer(start_response, content_type, body):
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def hello(environ, start_response):
    return answer(start_response, "text/plain", HELLO)


def json(environ, start_response):
    return answer(start_response, "application/json", JSON)


def stream(environ, start_response):
    """Yield 100 pieces without a Content-Length: the server has to frame them."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (PIECE for _ in range(100))


def mebibyte(environ, start_response):
    return answer(start_response, "text/plain", mebibyte_body())


def upload(environ, start_response):
    return answer(start_response, "text/plain", environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))


def sleep(environ, start_response):
    time.sleep(0.05)
    return hello(environ, start_response)


def work(environ, start_response):
    """Compute for about a millisecond, so that the load generator costs nothing beside it."""
    sum(i * i for i in range(20000))
    return hello(environ, start_response)


def slow(environ, start_response):
    """Generate 10 MiB, for clients that read slowly."""
    length = len(SLOW_PIECE) * SLOW_PIECES
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
    return (SLOW_PIECE for _ in range(SLOW_PIECES))


ROUTES = {"/json": json, "/stream": stream, "/mebibyte": mebibyte, "/upload": upload, "/sleep": sleep, "/work": work}
ROUTES["/slow"] = slow


def application(environ, start_response):
    return ROUTES.get(environ["PATH_INFO"], hello)(environ, start_response)

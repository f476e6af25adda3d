"""The application of bench/faults.py: each path a fault. Copied to a folder of its own, where VERSION changes."""

import os
import time

VERSION = "1"
HERE = os.path.dirname(os.path.abspath(__file__))

if os.path.exists(os.path.join(HERE, "hang-while-loading")):
    time.sleep(3600)


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/") or "hello"](environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [VERSION.encode()]


def pid(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def slow(environ, start_response):
    time.sleep(0.6)
    return hello(environ, start_response)


def hang(environ, start_response):
    time.sleep(3600)


def stream(environ, start_response):
    """A line now, the next when the file `go-on` is there."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first\n"
    while not os.path.exists(os.path.join(HERE, "go-on")):
        yield b""
        time.sleep(0.001)
    yield b"last\n"


def large(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(2**24))])
    for _ in range(2**8):
        yield bytes(2**16)


def ticks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(20):
        yield b"%d\n" % number
        time.sleep(0.05)


def medium(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100000")])
    return [bytes(100_000)]


def nothing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b""


def broken(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"half"
    raise OSError("the application's own disk")


def upload(environ, start_response):
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(size).encode()]

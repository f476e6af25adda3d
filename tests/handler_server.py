"""The servers that the tests talk to, each a few methods on the real handler. Started by the fixture `serve`.

    python tests/handler_server.py Echo '{"handler": {"idle_timeout": 1}, "server": {"pause": 0.1}}'

Settings are class attributes of the handler and of the server, and of this process:
sweep -- seconds between two looks for late channels; descriptors -- RLIMIT_NOFILE;
fails -- "module:Class.method" that raises whenever it is called; access_log -- path;
log -- level; accept_errors -- names of errors that accept() raises before it works.
"""

import contextlib
import errno
import gzip
import importlib
import io
import itertools
import json
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpd
from asynchttpd import accesslog, http1, ioloop, producers, running
from asynchttpd.ioloop import asynchat


class Echo(httpd.AsyncHTTPRequestHandler):
    """Says what it was asked, and gives back what it was sent."""

    def answer(self, body, *fields):
        self.send_response(200)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(f"GET {self.path}".encode())

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(self.rfile.read())

    def do_PUT(self):
        """Answer how much came rather than all of it."""
        size = sum(map(len, iter(lambda: self.rfile.read(65536), b"")))
        self.answer(f"{size} bytes".encode())

    def do_LAST(self):
        self.answer(b"goodbye", ("Connection", "close"))

    def do_STAY(self):
        self.answer(b"hello again", ("Connection", "keep-alive"))

    def do_DESCRIPTOR(self):
        self.answer(str(self.socket.fileno()).encode())

    def do_NODELAY(self):
        self.answer(str(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)).encode())


class Sized(Echo):
    """GET /n answers with n bytes, which begin with the target."""

    def do_GET(self):
        size = int(self.path.split("/")[1])
        self.answer(self.path.encode().ljust(size, b"."))


class CountingSocket(socket.socket):
    """A socket that counts the calls that reach the kernel."""

    calls = ""

    def recv(self, *args):
        self.calls += "r"
        return super().recv(*args)

    def send(self, *args):
        self.calls += "s"
        return super().send(*args)


class Splitting(Echo):
    """Hands itself what it is given in two parts, the first of them perhaps empty."""

    def collect_incoming_data(self, data):
        name, colon, rest = data.partition(b"X")
        super().collect_incoming_data(name)
        super().collect_incoming_data(colon + rest)


class Counting(Echo):
    """GET /calls answers with the calls on its socket since the last time: r for recv, s for send."""

    def __init__(self, sock, *args, **kwargs):
        super().__init__(CountingSocket(fileno=sock.detach()), *args, **kwargs)

    def do_GET(self):
        if self.path == "/calls":
            self.answer(self.socket.calls.encode())
            self.socket.calls = ""
        else:
            super().do_GET()


class Numbers:
    """A producer of the numbers below *count*, a line each, that tells a file when it is closed."""

    def __init__(self, count, closed_path=None):
        self.numbers, self.closed_path = iter(range(count)), closed_path

    def more(self):
        return b"".join(b"%d\n" % number for number in itertools.islice(self.numbers, 1000))

    def close(self):
        if self.closed_path:
            Path(self.closed_path).touch()


class Broken(Numbers):
    def more(self):
        """Return what there is, then raise instead of ending."""
        piece = super().more()
        if not piece:
            raise RuntimeError("a producer fails")
        return piece


class Producing(Echo):
    """GET answers with producers of unknown length; what comes after "?" is touched when the last is closed."""

    def do_GET(self):
        kind, _, closed_path = self.path.removeprefix("/").partition("?")
        self.send_response(200)
        self.end_headers()
        if kind == "broken":
            self.push_with_producer(Broken(0, closed_path))
        elif kind == "late-broken":
            self.push_with_producer(Broken(10, closed_path))
        elif kind == "three":
            self.push(b"first\n")
            self.push_with_producer(Numbers(3))
            self.push_with_producer(Numbers(0))
            self.push_with_producer(Numbers(2, closed_path))
            self.push(b"last\n")
        else:
            self.push_with_producer(Numbers(int(kind), closed_path))

    do_HEAD = do_GET


class Upper(httpd.FileProducer):
    def more(self):
        return super().more().upper()


class Lending(Echo):
    """GET answers with 20,000 bytes: "abcd..." from a producer such as students write; /NAME?length says how many."""

    text = (b"abcdefghijklmnopqrstuvwxyz" * 800)[:20000]

    def do_GET(self):
        name, _, length = self.path.removeprefix("/").partition("?")
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        getattr(self, name)()

    def unlimited(self):
        self.push_with_producer(httpd.FileProducer(io.BytesIO(self.text)))

    def memory(self):
        self.push_with_producer(httpd.FileProducer(io.BytesIO(self.text), count=len(self.text)))

    def buffered(self):
        """Hand over a file that has read ahead of where it is."""
        file = self.file(self.text)
        file.read(4)
        file.seek(0)
        self.push_with_producer(httpd.FileProducer(file, count=len(self.text)))

    def unzipped(self):
        with tempfile.NamedTemporaryFile() as zipped:
            zipped.write(gzip.compress(self.text))
            zipped.flush()
            file = gzip.open(zipped.name)
        self.push_with_producer(httpd.FileProducer(file, count=len(self.text)))

    def upper(self):
        self.push_with_producer(Upper(self.file(self.text), count=len(self.text)))

    def simple(self):
        """Use asynchat's own, which has nothing but more()."""
        self.push_with_producer(asynchat.simple_producer(self.text))

    def fails(self):
        self.push_with_producer(httpd.FileProducer(self.file(b"short"), count=5))
        raise RuntimeError("after a short producer")

    def file(self, content):
        file = tempfile.TemporaryFile()
        file.write(content)
        file.seek(0)
        return file


class Faulty(Echo):
    """GET raises, before or after it has begun to answer."""

    def do_GET(self):
        if self.path == "/before":
            raise RuntimeError("before the head")
        if self.path == "/silent":
            return
        if self.path == "/head":
            self.send_response(200)
            self.send_header("X-Secret", "of the answer that was given up")
            self.end_headers()
            self.push(b"half")
            raise RuntimeError("after the head was made")
        if self.path in ("/sent", "/refused"):
            self.send_response(200)
            self.end_headers()
            self.push_with_producer(Numbers(10))
            raise http1.HTTPError(409, "too late") if self.path == "/refused" else RuntimeError("likewise")
        if self.path == "/raw":
            self.push(b"HTTP/1.1 200 OK\r\n\r\n")
            self.push_with_producer(Broken(10))
        else:
            super().do_GET()


class FailingListener(socket.socket):
    """A listening socket the accept() of which raises *errors* (numbers) first."""

    errors = ()

    def accept(self):
        if self.errors:
            number, *self.errors = self.errors
            raise OSError(number, os.strerror(number))
        return super().accept()


class Cramming(Echo):
    """GET /n sends a head and as many "x" as the kernel takes, and only then comes to a file of n bytes."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.queue_unsent()
        self.initiate_send()
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.send(b"x" * 65536)
        count = int(self.path[1:])
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"f" * count)
            self.push_with_producer(producers.SendfileProducer(os.dup(file.fileno()), 0, count))


class Files(httpd.AsyncHTTPRequestHandler):
    """The file server itself; settings tell the root."""


def set_attributes(owner, values):
    for name, value in values.items():
        if not hasattr(owner, name):
            raise AttributeError(f"{owner} has no {name}")
        setattr(owner, name, value)


def fail(*args):
    raise RuntimeError("injected")


def main():
    handler, settings = globals()[sys.argv[1]], json.loads(sys.argv[2])
    set_attributes(handler, settings.get("handler", {}))
    ioloop.SWEEP_INTERVAL = settings.get("sweep", 0.05)
    running.raise_descriptor_limit()
    if "descriptors" in settings:
        resource.setrlimit(resource.RLIMIT_NOFILE, (settings["descriptors"],) * 2)
    logging.basicConfig(level=settings.get("log", "INFO"), format="%(levelname)s %(name)s: %(message)s")
    if "access_log" in settings:
        handler.access_log = accesslog.AccessLog(settings["access_log"])
    if "fails" in settings:
        module, _, name = settings["fails"].partition(":")
        owner, _, method = name.rpartition(".")
        setattr(getattr(importlib.import_module(module), owner), method, fail)
    server = httpd.AsyncServer("127.0.0.1", 0, handler)
    set_attributes(server, settings.get("server", {}))
    if "accept_errors" in settings:
        server.socket = FailingListener(fileno=server.socket.detach())
        server.socket.errors = [getattr(errno, name) for name in settings["accept_errors"]]
    channels = server._map
    signal.signal(signal.SIGTERM, lambda *_: channels.call_soon(lambda: [c.close() for c in list(channels.values())]))
    print(f"{os.getpid()} Serving HTTP on http://127.0.0.1:{server.socket.getsockname()[1]}/", flush=True)
    server.serve_forever()
    channels.close()


if __name__ == "__main__":
    main()

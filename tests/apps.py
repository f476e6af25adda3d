"""Small WSGI applications for the tests: a request for /echo is answered by echo(), and so on.

As a program it is async_wsgi.py with other class attributes, and a look for late channels every *sweep* seconds; they
come first, as JSON:

    python tests/apps.py '{"handler": {"send_timeout": 1}, "server": {}, "sweep": 0.1}' apps:application --threads 2

Environment: EVENTS -- file that gets a line for what no client can see, such as the end of a generator. A line ends
with the query of the request, by which a test finds its own.
"""

import asyncio
import bz2
import contextlib
import email
import gzip
import hashlib
import io
import json
import lzma
import os
import sys
import tarfile
import time
import warnings
import zipfile
from wsgiref.validate import validator

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # by Python 3.12 of some of its library
    import wave

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
MIB = b"%1048575d\n" % 0


def route(function):
    ROUTES[function.__name__] = function
    return function


def application(environ, start_response):
    name = environ["PATH_INFO"].split("/")[1]
    return ROUTES.get(name, hello)(environ, start_response)


validated = validator(application)


def argument(environ):
    """Return what follows the name of the application in the path."""
    return environ["PATH_INFO"].partition("/")[2].partition("/")[2]


def note(environ, event):
    line = f"{event} {environ['QUERY_STRING']}\n"
    with open(os.environ["EVENTS"], "a") as events:
        events.write(line)


class Noting:
    """An iterable over *pieces* that notes its close()."""

    def __init__(self, environ, pieces):
        self.environ, self.pieces = environ, pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        note(self.environ, "closed")


def wait_for_event(environ, event):
    """Block until a test has written *event* for this request, or 10 s."""
    deadline = time.monotonic() + 10
    line = f"{event} {environ['QUERY_STRING']}\n"
    while time.monotonic() < deadline:
        with open(os.environ["EVENTS"]) as events:
            if line in events:
                return
        time.sleep(0.005)
    raise TimeoutError(event)


# What the application is told.


@route
def hello(environ, start_response):
    start_response("200 OK", TEXT.copy())
    return [b"hello"]


@route
def environment(environ, start_response):
    facts = {name: [type(value).__name__, value if isinstance(value, str | bool) else repr(value)]
             for name, value in environ.items()}  # fmt: skip
    body = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


@route
def environ_is_mine(environ, start_response):
    """Change the environ, which must not be seen by the next request."""
    before = "mine" in environ
    environ["mine"] = "yes"
    environ.clear()
    start_response("200 OK", TEXT.copy())
    return [b"stale" if before else b"fresh"]


@route
def echo(environ, start_response):
    note(environ, "called")
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


@route
def digest(environ, start_response):
    """Answer with size and SHA-256 of the body, read in pieces."""
    size, sha = 0, hashlib.sha256()
    while piece := environ["wsgi.input"].read(100_000):
        size += len(piece)
        sha.update(piece)
    start_response("200 OK", TEXT.copy())
    return [f"{size} {sha.hexdigest()} {environ.get('CONTENT_LENGTH')}".encode()]


READERS = {
    "read": lambda stream: [stream.read(), stream.read(), stream.read(5)],
    "read -1": lambda stream: [stream.read(-1), stream.read(-1)],
    "read 4": lambda stream: [stream.read(4), stream.read(4), stream.read(1000), stream.read(4)],
    "read 0": lambda stream: [stream.read(0), stream.read()],
    "readline": lambda stream: [stream.readline() for _ in range(5)],
    "readline 2": lambda stream: [stream.readline(2) for _ in range(3)],
    "readlines": lambda stream: [stream.readlines(), stream.readlines()],
    "readlines 3": lambda stream: stream.readlines(3),
    "iteration": lambda stream: list(stream),
    "mixed": lambda stream: [stream.readline(), stream.read(2), next(iter(stream)), stream.read()],
    "readinto": lambda stream: [stream.readinto(buffer := bytearray(8)), bytes(buffer), stream.read()],
    "seek and tell": lambda stream: [stream.read(3), stream.tell(), stream.seek(1), stream.read(), stream.seek(0, 2)],
    "facts": lambda stream: [stream.closed, stream.readable(), stream.seekable(), hasattr(stream, "mode")],
    "closed": lambda stream: [stream.read(), stream.close()],
    "none": lambda stream: [],
}


@route
def reader(environ, start_response):
    found = READERS[argument(environ)](environ["wsgi.input"])
    start_response("200 OK", TEXT.copy())
    return [repr(found).encode()]


# Libraries that read the body themselves. Those that find a `mode` in it believe that they may write, or must not read.
UNPACKERS = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream).read(),
    "bz2": lambda stream: bz2.BZ2File(stream).read(),
    "lzma": lambda stream: lzma.LZMAFile(stream).read(),
    "tar": lambda stream: tarfile.open(fileobj=stream).extractfile("member").read(),
    "zip": lambda stream: zipfile.ZipFile(stream).read("member"),
    "wave": lambda stream: wave.open(stream).readframes(1 << 30),
    "text": lambda stream: io.TextIOWrapper(stream, "latin-1", newline="").read().encode("latin-1"),
    "multipart": lambda stream: email.message_from_binary_file(stream).get_payload(decode=True),
}


@route
def unpack(environ, start_response):
    content = UNPACKERS[argument(environ)](environ["wsgi.input"])
    start_response("200 OK", TEXT.copy())
    return [content]


@route
def mark(environ, start_response):
    """Write the query to wsgi.errors."""
    environ["wsgi.errors"].write(environ["QUERY_STRING"].replace("%20", " ") + "\n")
    environ["wsgi.errors"].flush()
    return hello(environ, start_response)


# What it does wrong.

STARTS = {
    "status with CRLF": ("200 OK\r\nX: y", []),
    "status with LF": ("200 OK\n", []),
    "status of two digits": ("20 OK", []),
    "status of four digits": ("2000 OK", []),
    "status of letters": ("OK", []),
    "status of Arabic digits": ("\u0662\u0660\u0660 OK", []),
    "status 99": ("099 OK", []),
    "status 1xx": ("100 Continue", []),
    "status of bytes": (b"200 OK", []),
    "status as int": (200, []),
    "status beyond latin-1": ("200 \u20ac", []),
    "fields missing": ("200 OK", None),
    "field of three": ("200 OK", [("a", "b", "c")]),
    "field as str": ("200 OK", ["X"]),
    "name of bytes": ("200 OK", [(b"X", "y")]),
    "value of bytes": ("200 OK", [("X", b"y")]),
    "value as list": ("200 OK", [("X", ["y"])]),
    "value as int": ("200 OK", [("Content-Length", 5)]),
    "value beyond latin-1": ("200 OK", [("X", "\u20ac")]),
    "value that is CRLF in the low byte": ("200 OK", [("X", "\u010d\u010aX: y")]),
    "value with CRLF": ("200 OK", [("X", "y\r\nZ: z")]),
    "value with CR": ("200 OK", [("X", "y\rz")]),
    "value with NUL": ("200 OK", [("X", "y\0z")]),
    "name with colon": ("200 OK", [("X:", "y")]),
    "name with a value of its own": ("200 OK", [("X: a", "b")]),
    "name with space": ("200 OK", [("X y", "z")]),
    "name with LF": ("200 OK", [("X\n", "z")]),
    "name empty": ("200 OK", [("", "z")]),
    "name beyond ASCII": ("200 OK", [("\xe9", "z")]),
    "two lengths": ("200 OK", [("Content-Length", "5"), ("content-length", "6")]),
    "signed length": ("200 OK", [("Content-Length", "+5")]),
    "list of lengths": ("200 OK", [("Content-Length", "5, 5")]),
    "empty length": ("200 OK", [("Content-Length", "")]),
    "negative length": ("200 OK", [("Content-Length", "-5")]),
    "endless length": ("200 OK", [("Content-Length", "9" * 5000)]),
}


@route
def wrong_start(environ, start_response):
    start_response(*STARTS[argument(environ)])
    return [b"never"]


# What is no mistake: every server takes it (the body is "hello").
ACCEPTED = {
    "status without reason": ("200", []),
    "status with a blank and no reason": ("200 ", []),
    "status 999": ("999 Odd", []),
    "fields as tuple": ("200 OK", (("X", "y"),)),
    "fields as items": ("200 OK", {"X": "y", "Content-Length": "5"}.items()),
    "fields as iterator": ("200 OK", lambda: iter([("Content-Length", "5"), ("X", "y")])),
    "fields as lists": ("200 OK", [["X", "y"]]),
    "no fields": ("200 OK", {}),
    "blanks around a value": ("200 OK", [("X", "\t y  "), ("Content-Length", " 5 ")]),
    "one length twice": ("200 OK", [("Content-Length", "5"), ("content-length", "5")]),
    "Proxy-Authenticate": ("407 Proxy Authentication Required", [("Proxy-Authenticate", "Basic"), ("X", "y")]),
    "Proxy-Authorization": ("200 OK", [("Proxy-Authorization", "Basic YQ=="), ("X", "y")]),
    "Connection": ("200 OK", [("connection", "keep-alive"), ("X", "y")]),
    "Keep-Alive": ("200 OK", [("Keep-Alive", "timeout=5")]),
    "Transfer-Encoding": ("200 OK", [("Transfer-Encoding", "chunked"), ("X", "y")]),
    "Upgrade": ("200 OK", [("Upgrade", "h2c"), ("Connection", "upgrade")]),
    "TE": ("200 OK", [("TE", "trailers")]),
}


@route
def accepted_start(environ, start_response):
    status, fields = ACCEPTED[argument(environ)]
    start_response(status, fields() if callable(fields) else fields)
    return [b"hello"]


@route
def connection_close(environ, start_response):
    """Ask for the end of the connection, as one of several options or alone."""
    start_response("200 OK", [("Connection", argument(environ)), ("Content-Length", "5")])
    return [b"hello"]


RESULTS = {  # what is returned -> what the log must say of it
    "None": (lambda: None, "NoneType"),
    "int": (lambda: 5, "int"),
    "str": (lambda: "hello", "str"),
    "bytes": (lambda: b"hello", "bytes"),
    "list of str": (lambda: ["hello"], "str"),
    "generator of str": (lambda: (text for text in ["hello"]), "str"),
    "list of None": (lambda: [None], "NoneType"),
    "list of bytearray": (lambda: [bytearray(b"hello")], "bytearray"),
}


@route
def wrong_result(environ, start_response):
    start_response("200 OK", TEXT.copy())
    return RESULTS[argument(environ)][0]()


@route
def no_start(environ, start_response):
    return Noting(environ, [] if argument(environ) == "empty" else [b"hello"])


@route
def two_starts(environ, start_response):
    start_response("200 OK", TEXT.copy())
    start_response("201 Created", TEXT.copy())
    return [b"never"]


def recurse():
    return recurse()


def raiser(error):
    def fail():
        raise error

    return fail


FAULTS = {
    "ValueError": raiser(ValueError("the secret")),
    "SystemExit": lambda: sys.exit(3),
    "KeyboardInterrupt": raiser(KeyboardInterrupt()),
    "GeneratorExit": raiser(GeneratorExit()),
    "CancelledError": raiser(asyncio.CancelledError()),
    "MemoryError": raiser(MemoryError()),
    # Not from our socket: the application's own connection, or its disk.
    "ConnectionResetError": raiser(ConnectionResetError(104, "by the database")),
    "TimeoutError": raiser(TimeoutError(110, "of the database")),
    "OSError": raiser(OSError(5, "of the disk")),
    "RecursionError": recurse,
    "StopIteration": raiser(StopIteration()),
}


class Failing(Noting):
    """Hands out its pieces, then raises."""

    def __init__(self, environ, pieces, fail):
        super().__init__(environ, iter(pieces))
        self.fail = fail

    def __iter__(self):
        return self

    def __next__(self):
        piece = next(self.pieces, None)
        if piece is None:
            self.fail()
        return piece


@route
def fails_at_once(environ, start_response):
    FAULTS[argument(environ)]()


@route
def fails_after_start(environ, start_response):
    start_response("200 OK", TEXT.copy())
    FAULTS[argument(environ)]()


@route
def fails_at_first_piece(environ, start_response):
    start_response("200 OK", TEXT.copy())
    return Failing(environ, [b""] * 1000, FAULTS[argument(environ)])


@route
def fails_in_len(environ, start_response):
    class FailingLen(Noting):
        def __len__(self):
            FAULTS[argument(environ)]()

    start_response("200 OK", TEXT.copy())
    return FailingLen(environ, [b"hello"])


@route
def fails_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT.copy())
    return Failing(environ, [b"first", b"second"], FAULTS[argument(environ)])


@route
def fails_after_write(environ, start_response):
    start_response("200 OK", TEXT.copy())(b"first")
    FAULTS[argument(environ)]()


@route
def fails_in_close(environ, start_response):
    class FailingClose(Noting):
        def close(self):
            super().close()
            FAULTS[argument(environ)]()

    start_response("200 OK", TEXT.copy())
    return FailingClose(environ, [b"hello"])


@route
def writes_in_close(environ, start_response):
    class Writing(Noting):
        def close(self):
            super().close()
            write(b"too late")

    write = start_response("200 OK", TEXT.copy())
    return Writing(environ, [b"hel", b"lo"])


@route
def writes_between_pieces(environ, start_response):
    """Not what PEP 3333 allows, but what other servers send in this order."""
    write = start_response("200 OK", TEXT.copy())
    write(b"one ")
    for number in (b"two ", b"four "):
        yield number
        write(b"and ")


OLD_WRITES = []


@route
def writes_for_the_request_before(environ, start_response):
    OLD_WRITES.append(start_response("200 OK", TEXT.copy()))
    if len(OLD_WRITES) > 1:
        OLD_WRITES[-2](b"stray")
    return [b"hello"]


@route
def fails_in_iter(environ, start_response):
    class FailingIter(Noting):
        def __iter__(self):
            raise ValueError("no iterator")

    start_response("200 OK", TEXT.copy())
    return FailingIter(environ, [])


# start_response and its exc_info.


@route
def replaced_start(environ, start_response):
    """Everything of the first start is forgotten: status, fields, Content-Length."""
    start_response("200 OK", [("Content-Length", "5"), ("X-First", "1")])
    yield b""
    try:
        raise ValueError("on second thoughts")
    except ValueError:
        start_response("503 Later", [("X-Second", "2")], sys.exc_info())
    yield b"sorry, "
    yield b"later"


@route
def late_start(environ, start_response):
    """After the head has left start_response() raises what it is given."""
    start_response("200 OK", TEXT.copy())
    yield b"first"
    try:
        raise LookupError("too late")
    except LookupError:
        try:
            start_response("500 Oops", TEXT.copy(), sys.exc_info())
        except LookupError:
            note(environ, "raised LookupError")
            raise


@route
def start_with_first_piece(environ, start_response):
    start_response("200 OK", TEXT.copy())
    yield b"a"
    yield b"b"


@route
def fields(environ, start_response):
    start_response(
        "299 Odd but fine",
        [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "\xe9\x80"),
         ("X-Empty", ""),
         ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "mine")],
    )  # fmt: skip
    return [b"hello"]


# Ways to make a body.


@route
def pieces(environ, start_response):
    """Three pieces among empty ones."""
    start_response("200 OK", TEXT.copy())
    return Noting(environ, [*[b""] * 100, b"one", b"", *[b""] * 1000, b"two", b"three", *[b""] * 100])


@route
def empty_pieces(environ, start_response):
    """/empty_pieces/first: empty pieces for ever before or, /after, behind the first with content."""
    start_response("200 OK", TEXT.copy())
    try:
        if argument(environ) == "after":
            yield b"first"
        note(environ, "called")
        while True:
            yield b""
    finally:
        note(environ, "closed")


@route
def one_piece(environ, start_response):
    start_response("200 OK", TEXT.copy())
    return [b"hello"]


@route
def one_of_generator(environ, start_response):
    start_response("200 OK", TEXT.copy())
    yield b"hello"


@route
def nothing(environ, start_response):
    start_response(argument(environ) or "200 OK", [])
    return Noting(environ, [])


@route
def status(environ, start_response):
    """Answer with the status of the path and a body, whether that status may have one or not."""
    start_response(argument(environ), [("ETag", '"x"')])
    return Noting(environ, [b"body ", b"of it"])


@route
def writes(environ, start_response):
    write = start_response("200 OK", TEXT.copy())
    write(b"one ")
    write(b"")
    write(b"two ")
    return Noting(environ, [b"three"])


@route
def writes_nothing_first(environ, start_response):
    start_response("200 OK", TEXT.copy())(b"")
    try:
        raise ValueError("before anything has left")
    except ValueError:
        start_response("500 Replaced", TEXT.copy(), sys.exc_info())
    return [b"replaced"]


@route
def wrong_write(environ, start_response):
    start_response("200 OK", TEXT.copy())("text")
    return []


@route
def lying(environ, start_response):
    """/lying/5/way makes more or less than 5 bytes."""
    length, way = argument(environ).split("/")
    write = start_response("200 OK", [("Content-Length", length)])
    if way == "write":
        write(b"hello world")
        return Noting(environ, [])
    if way == "file":
        with open(os.environ["EVENTS"] + ".file", "wb") as file:
            file.write(b"hello world")
        return environ["wsgi.file_wrapper"](NotingFile(environ, file.name))
    return Noting(environ, {
        "one": [b"hello world"], "many": [b"hel", b"lo ", b"world", b"!"], "endless": endless(), "none": [],
    }[way])  # fmt: skip


def endless():
    while True:
        yield b"hello"


@route
def stepwise(environ, start_response):
    """Make the second piece only when the test says that it has the first."""
    start_response("200 OK", TEXT.copy())
    yield b"first"
    wait_for_event(environ, "go")
    yield b"second"


@route
def stepwise_writes(environ, start_response):
    write = start_response("200 OK", TEXT.copy())
    write(b"first")
    wait_for_event(environ, "go")
    write(b"second")
    return []


@route
def infinite(environ, start_response):
    start_response("200 OK", TEXT.copy())
    try:
        while True:
            yield MIB[-65536:]
    finally:
        note(environ, "closed")


@route
def infinite_writes(environ, start_response):
    write = start_response("200 OK", TEXT.copy())
    write(b"first")
    wait_for_event(environ, "go")
    try:
        while True:
            write(b"more")
    finally:
        note(environ, "ended")


@route
def write_and_pieces(environ, start_response):
    write = start_response("200 OK", TEXT.copy())
    write(b"first")
    wait_for_event(environ, "go")
    with contextlib.suppress(Exception):
        write(b"second")
    return Noting(environ, [b"third"])


@route
def generated(environ, start_response):
    """10 MiB of numbered lines."""
    start_response("200 OK", TEXT.copy())
    for start in range(0, 10 * 1024 * 1024, 16384):
        yield b"".join(b"%015d\n" % offset for offset in range(start, start + 16384, 16))


@route
def tiny_pieces(environ, start_response):
    start_response("200 OK", TEXT.copy())
    for number in range(int(argument(environ))):
        yield b"%d\n" % number


class NotingFile:
    """Not a file that the kernel could send, only something with read() and close()."""

    def __init__(self, environ, path):
        self.environ, self.file = environ, open(path, "rb")

    def read(self, size):
        return self.file.read(size)

    def close(self):
        self.file.close()
        note(self.environ, "closed")


@route
def file(environ, start_response):
    """/file/kind answers with the file that the environment variable FILE names."""
    kind = argument(environ)
    file = open(os.environ["FILE"], "rb")
    close = file.close
    file.close = lambda: (close(), note(environ, "closed"))
    if kind == "middle":
        file.seek(1000)
        file.read(10)
    if kind == "past":
        file.seek(50, os.SEEK_END)
    headers = [("Content-Length", "1000")] if kind == "limited" else []
    start_response("200 OK", headers)
    if kind == "readable":
        close()
        return environ["wsgi.file_wrapper"](NotingFile(environ, os.environ["FILE"]), 1000)
    return environ["wsgi.file_wrapper"](file)


@route
def system_file(environ, start_response):
    """Answer with a regular file of which the system says that it is empty."""
    start_response("200 OK", TEXT.copy())
    return environ["wsgi.file_wrapper"](open("/proc/self/status", "rb"))


@route
def closed_file(environ, start_response):
    start_response("200 OK", TEXT.copy())
    with open(os.environ["FILE"], "rb") as file:
        wrapper = environ["wsgi.file_wrapper"](file)
    wrapper.close = lambda: note(environ, "closed")
    return wrapper


# For --threads.


@route
def block(environ, start_response):
    """Keep the thread until a test says "go"."""
    note(environ, "called")
    wait_for_event(environ, "go")
    start_response("200 OK", TEXT.copy())
    return Noting(environ, [b"through"])


@route
def watch_client(environ, start_response):
    """Note when the client has left."""
    note(environ, "called")
    deadline = time.monotonic() + 10
    while not environ["asynchttpd.client_disconnected"]() and time.monotonic() < deadline:
        time.sleep(0.01)
    note(environ, "left" if time.monotonic() < deadline else "stayed")
    start_response("200 OK", TEXT.copy())
    return [b"hello"]


@route
def late_answer(environ, start_response):
    """Do everything an application does when it has been given up, and note what comes of it."""
    note(environ, "called")
    wait_for_event(environ, "go")
    try:
        note(environ, f"read {len(environ['wsgi.input'].read())}")
        write = start_response("200 OK", TEXT.copy())
        write(b"too late")
    except BaseException as error:
        note(environ, type(error).__name__)
        raise
    return [b"never"]


@route
def fails_late(environ, start_response):
    note(environ, "called")
    wait_for_event(environ, "go")
    raise ValueError("nobody is waiting")


@route
def late_file(environ, start_response):
    wait_for_event(environ, "go")
    return file(environ, start_response)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import async_wsgi
    from asynchttpd import ioloop

    settings = json.loads(sys.argv.pop(1))
    ioloop.SWEEP_INTERVAL = settings["sweep"]

    class Server(async_wsgi.AsyncWSGIServer):
        def set_app(self, application):
            """In the worker, when the command line has been applied."""
            for name, value in settings["server"].items():
                setattr(self, name, value)
            for name, value in settings["handler"].items():
                setattr(self.handler, name, value)
            super().set_app(application)

    async_wsgi.AsyncWSGIServer = Server
    async_wsgi.run()

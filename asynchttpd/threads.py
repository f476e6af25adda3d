"""A WSGI server (PEP 3333) on the same engine: `python async_wsgi.py my_app:application`.

How requests arrive and how bytes leave is httpd.py's story. Here only what makes the answer is replaced:
handle_request() calls the application, finish_response() sends what it returns.

The application runs in the loop, as the lab has it, and while it computes nobody else is served. Its iterable
is a producer: a piece is asked for when the one before has left, so a slow client slows the application down
instead of filling memory. With --threads the application runs in a pool of threads and may block; all the same
only the loop touches sockets:

    loop    request complete -> Job            take_piece -> socket           job_done -> next request
    thread                       application -> deliver, wait for room -> ... -> close()
"""

import argparse
import functools
import importlib
import io
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from wsgiref.util import FileWrapper, is_hop_by_hop

import httpd
from asynchttpd import command_line, http1
from asynchttpd.http1 import HTTPError
from httpd import CLOSED, Aborted, log

STATUS = re.compile(r"[2-5][0-9]{2} [\t -~\x80-\xff]*")  # no 1xx: interim answers are the server's


class AsyncWSGIServer(httpd.AsyncServer):
    """A listening socket with an application behind it."""

    threads = 0  # threads that run the application; 0: it runs in the loop
    queue_limit = 64  # requests that may wait for a thread; above it 503
    multiprocess = False  # do other processes call the application, too?

    def __init__(self, host="127.0.0.1", port=9000, handler=None, map=None):
        super().__init__(host, port, handler or AsyncWSGIRequestHandler, map)

    def set_app(self, application):
        """Take *application*, a callable(environ, start_response) as of PEP 3333, into service."""
        self.application = application
        self.pool, self.jobs = None, 0  # threads, and how many requests run or wait there
        if self.threads:
            from concurrent.futures import ThreadPoolExecutor

            self.pool = ThreadPoolExecutor(self.threads)
            # All of them now: a request must not find that there is no room for one more.
            all_here = threading.Barrier(self.threads)
            for _ in range(self.threads):
                self.pool.submit(all_here.wait)
        host, port = self.socket.getsockname()[:2]
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        self.environ = {  # what is the same for every request
            "SERVER_NAME": f"[{host}]" if ":" in host else host,  # RFC 3875 §4.1.14
            "SERVER_PORT": str(port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.threads > 1,
            "wsgi.multiprocess": self.multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
        }

    def get_app(self):
        return self.application


class AsyncWSGIRequestHandler(httpd.AsyncHTTPRequestHandler):
    """One connection, the requests of which the application answers."""

    __slots__ = ("answer", "job")

    script_name = ""  # where the application is mounted; taken off the path if the proxy has left it there
    static_folders = {}  # {"/prefix": folder}: answered with files, by the parent class
    trusted_proxies = ()  # networks whose word about the client is believed (see proxy.py)
    request_timeout = None  # seconds until the first byte of an application in a thread; later it is 504

    def reset_request(self):
        httpd.AsyncHTTPRequestHandler.reset_request(self)
        self.answer = None  # the Answer of the application
        self.job = None  # the application at work in a thread

    def mount(self):
        """Return the prefix of the static folder that answers, None if the application does."""
        inside = [prefix for prefix in self.static_folders if self.path.startswith(prefix + "/")]
        return max(inside, key=len, default=None)

    def handles(self, method):
        return method != "CONNECT" if self.mount() is None else super().handles(method)

    def handle_request(self):
        """Have the application answer; files, and `OPTIONS *` which asks about the server, are the parent's."""
        if self.path == "*" or (self.static_folders and self.mount()):
            super().handle_request()
            return
        if self.command == "CONNECT":
            raise HTTPError(501, "no tunnels here")
        self.answer = Answer(self)
        if self.server.pool is None:
            self.finish_response(guarded(self.server.get_app(), self.get_environ(), self.start_response))
        else:
            self.start_job()

    def translate_path(self, path):
        mount = self.mount()
        self.root = self.static_folders[mount]  # until the next request here, which sets it again
        return super().translate_path(path.removeprefix(mount))

    def get_environ(self):
        """Return what the application is told about the request (PEP 3333, "environ Variables")."""
        target, _, query = self.path.partition("?")
        path = target
        if "%" in target:
            import urllib.parse

            path = urllib.parse.unquote_to_bytes(target).decode("latin-1")
        if self.script_name and (path + "/").startswith(self.script_name + "/"):
            path = path[len(self.script_name) :]
        environ = self.server.environ.copy()
        environ["REQUEST_METHOD"] = self.command
        environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"] = self.script_name, path, query
        environ["SERVER_PROTOCOL"] = self.request_version
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self.addr[0].removeprefix("::ffff:"), str(self.addr[1])
        environ["wsgi.input"] = self.rfile
        environ["asynchttpd.client_disconnected"] = self.client_disconnected
        for name, value in self.headers.items():
            if variable := variable_name(name):
                environ[variable] = value
        if "CONTENT_LENGTH" in environ:
            # True also of a body that came chunked.
            environ["CONTENT_LENGTH"] = str(self.body_bytes) if self.spool else "0"
        if self.trusted_proxies:
            self.apply_forwarding(environ)
        return environ

    def apply_forwarding(self, environ):
        from asynchttpd import proxy

        client = proxy.client_of(environ["REMOTE_ADDR"], self.headers, self.trusted_proxies)
        if client.node != environ["REMOTE_ADDR"]:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client.node, ""
        if client.scheme:
            environ["wsgi.url_scheme"] = client.scheme
        if client.host and http1.is_authority(client.host):
            environ["HTTP_HOST"] = client.host

    def client_disconnected(self):
        """Tell whether nobody is left to read the answer. May be called from any thread."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def start_response(self, status, response_headers, exc_info=None):
        """Note the status and the fields of the answer; return write() (PEP 3333, "start_response()")."""
        self.answer.start(status, response_headers, exc_info)
        return self.write

    def write(self, data):
        """What start_response() returns: send *data* now."""
        if self.state is CLOSED:
            raise Aborted("nobody is left to read it")
        if piece := self.answer.written(data):
            self.send_piece(piece)

    def finish_response(self, result):
        """Send what the application has returned, piece by piece as the client takes it."""
        producer = ApplicationProducer(self.answer, result)
        try:
            if not self.answer.begun and wraps_plain_file(result):
                producer = ApplicationFile(self.answer, result, self.chunk_size)
                self.answer.begin(producer.left)
                producer.left = self.answer.left
                piece = b""
            else:
                piece = producer.more()  # before the head: this may still fail, or call start_response()
            self.queue_piece(piece)
        except BaseException:
            producer.close()
            raise
        if self.answer.whole and not self.answer.left:
            producer.close()  # of one piece: the application has no work to do after it
        else:
            self.queue_producer(producer)

    def send_piece(self, piece):
        self.queue_piece(piece)
        self.queue_unsent()
        self.initiate_send()

    def queue_piece(self, piece):
        """Queue *piece* of the body, the head before the first one."""
        if self.status is None:
            self.send_answer_head()
        self.push(piece)

    def send_answer_head(self):
        answer = self.answer
        self.send_response(answer.code, answer.reason)
        if "date" in answer.names or "server" in answer.names:
            self.head = [line for line in self.head if line.partition(":")[0].lower() not in answer.names]
        self.head.extend(answer.lines)
        self.length = answer.length
        self.end_headers()

    # With threads: what runs in the loop while the application runs in a thread.

    def start_job(self):
        if self.server.jobs >= self.server.threads + self.server.queue_limit:
            raise HTTPError(503, "all threads are busy and the queue is full")
        self.server.jobs += 1
        self.job = Job(self)
        if self.request_timeout:
            self.deadline = time.monotonic() + self.request_timeout
        self.server.pool.submit(self.job.run)

    def end_response(self):
        if self.job is None:
            httpd.AsyncHTTPRequestHandler.end_response(self)

    def in_loop(self, method, *arguments):
        """Run a *method* that a thread asked for, with asyncore's care for what goes wrong in an event."""
        try:
            method(*arguments)
        except Exception:
            self.handle_error()
        if self.state is not CLOSED:
            self._map.touch(self._fileno)  # there was no event after which the loop would ask what we want now

    def take_piece(self, job, piece):
        if self.job is job:
            self.send_piece(piece)

    def job_done(self, job, error):
        self.server.jobs -= 1
        if self.job is job:
            self.job = None
            self.attempt(self.complete, job, error)
            self.end_response()
        else:
            job.drop(error)

    def complete(self, job, error):
        if error:
            raise error
        if job.file:
            self.finish_response(job.file)
        elif self.status is None:
            self.queue_piece(b"")

    def queue_emptied(self):
        if self.job:
            if self.status is not None:
                self.deadline = None  # the client has taken everything; now we wait for the application
            self.job.has_room.set()

    def handle_timeout(self):
        if self.job and self.status is None:
            log.error('%s "%s %s" takes too long:\n%s', self.client, self.command, self.path, self.job.stack())
            self.give_up_job()
            self.refuse(HTTPError(504, "the application takes too long"))
        else:
            super().handle_timeout()

    def close(self):
        if self.job:
            self.give_up_job()
        httpd.AsyncHTTPRequestHandler.close(self)

    def give_up_job(self):
        """Leave the thread to itself: what it still makes is dropped, and its place is free when it returns."""
        job, self.job = self.job, None
        job.input, self.spool = self.spool, None  # it may be reading
        job.given_up = True
        job.has_room.set()


@functools.lru_cache(maxsize=256)  # the same names come with every request
def variable_name(field_name):
    """Return what the environ calls a field of the request; None if it must not be there."""
    if field_name in ("content-length", "transfer-encoding"):
        return "CONTENT_LENGTH"
    if field_name == "content-type":
        return "CONTENT_TYPE"
    # X_Forwarded_For would pass for X-Forwarded-For, and Proxy for a variable that HTTP clients obey.
    if "_" in field_name or field_name == "proxy":
        return None
    return "HTTP_" + field_name.upper().replace("-", "_")


class Answer:
    """What the application says of its answer, held to PEP 3333. It lives where the application runs: no sockets here.

    code, reason, lines, names -- what start_response() was told: status, field lines, their names in lower case
    length -- the Content-Length, None if it is unknown
    left -- bytes that the body may still have, None if it may have any number
    overrun -- has the application made more than that?
    whole -- was its first piece known to be its last?
    begun -- has the head been handed on? Then it cannot be replaced any more.
    """

    # Made for each request: with slots that and start() take a quarter less time.
    __slots__ = (  # noqa: RUF023
        "handler", "command", "path", "code", "reason", "lines", "names", "length", "left", "begun", "overrun", "whole"
    )  # fmt: skip

    def __init__(self, handler):
        self.handler, self.command, self.path = handler, handler.command, handler.path
        self.code = self.length = self.left = None
        self.begun = self.overrun = self.whole = False

    @property
    def request(self):
        """Which request this answers, for the log; its handler may be at another by now."""
        return f'{self.handler.client} "{self.command} {self.path}"'

    def start(self, status, response_headers, exc_info):
        """What start_response() does. Until the head is handed on an error may replace everything."""
        if exc_info:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # or the traceback would keep this frame, which keeps the traceback
        elif self.code is not None:
            raise RuntimeError("start_response() called a second time without exc_info")
        code, reason = checked_status(status)
        self.lines, self.length, self.names = checked_fields(response_headers)
        self.code, self.reason = code, reason

    def begin(self, whole):
        """The head leaves; *whole* is the length of the body if it is known."""
        if self.code is None:
            raise RuntimeError("the application did not call start_response()")
        if self.code in (204, 304):
            self.left = 0
            if self.code == 204:  # RFC 9110 §8.6
                self.lines = [line for line in self.lines if not line.lower().startswith("content-length:")]
        else:
            if self.length is None and whole is not None:
                self.length = whole
                self.lines.append(f"Content-Length: {whole}")
            self.left = self.length
        self.begun = True

    def pieces(self, result):
        """Yield the pieces of *result* that go on the wire. Raise Aborted if they are less than the Content-Length."""
        for piece in checked_result(result):
            if checked_piece(piece):
                if not self.begun:
                    length = whole_length(result, piece)
                    self.whole = length is not None
                    self.begin(length)
                if self.command == "HEAD":
                    return
                if piece := self.measured(piece):
                    yield piece
                if self.overrun:
                    return
        was_begun = self.begun
        if not was_begun:
            # An empty body to HEAD says nothing of the one that GET would have.
            self.begin(None if self.command == "HEAD" else 0)
        if self.left and self.command != "HEAD":
            short = f"the application made {self.left} bytes less than its Content-Length"
            raise Aborted(short) if was_begun else ValueError(short)

    def written(self, data):
        """Return what of *data*, which was given to write(), goes on the wire."""
        if checked_piece(data) and not self.begun:
            self.begin(None)
        return self.measured(data) if data and self.command != "HEAD" else b""

    def measured(self, piece):
        """Return *piece*, cut to what the Content-Length has left for it: the rest would pass for the next answer."""
        if self.left is None:
            return piece
        if len(piece) > self.left:
            if not self.overrun:
                log.error("%s: body cut off where its head says that it ends", self.request)
            self.overrun = True
            piece = piece[: self.left]
        self.left -= len(piece)
        return piece

    def close(self, result):
        """Call the close() of what the application returned, once; its faults can only be logged by now."""
        if hasattr(result, "close"):
            try:
                guarded(result.close)
            except Exception:
                log.exception("%s: close() failed", self.request)


class ApplicationProducer:
    """Hands out the pieces of an application's iterable, each asked for when the one before has left."""

    def __init__(self, answer, result):
        self.answer, self.result = answer, result
        self.pieces = answer.pieces(result)

    def more(self):
        return guarded(next, self.pieces, b"")

    def close(self):
        self.answer.close(self.result)


class ApplicationFile(httpd.SendfileProducer):
    """Hands out a plain file that the application returned in `wsgi.file_wrapper`, by sendfile() where there is one."""

    def __init__(self, answer, result, chunk_size):
        # Our own file object, unbuffered: what the application's has read ahead would be missing.
        file = open(os.dup(result.filelike.fileno()), "rb", buffering=0)
        file.seek(result.filelike.tell())
        super().__init__(file, chunk_size, max(0, os.fstat(file.fileno()).st_size - file.tell()))
        self.answer, self.result = answer, result

    def close(self):
        super().close()
        self.answer.close(self.result)


class Job:
    """One request in the hands of a thread of the pool. It hands what it makes to the loop, and never touches a socket.

    given_up -- nobody wants the answer any more: the client has left, or was told 504
    thread -- the number of its thread while that is at work, for stack()
    file -- a plain file that the application returned: the loop sends it
    input -- the body of a request given up, which the thread may still be reading; closed when it ends
    """

    def __init__(self, handler):
        self.handler, self.answer = handler, handler.answer
        self.environ = handler.get_environ()
        self.application = handler.server.get_app()
        self.call_soon = handler._map.call_soon
        self.has_room = threading.Event()  # may the next piece be handed over?
        self.has_room.set()
        self.given_up = False
        self.thread = self.file = self.input = None

    def run(self):
        self.thread, error = threading.get_ident(), None
        try:
            if not self.given_up:  # while it waited for a thread
                guarded(self.call_application)
        except GivenUp:
            pass
        except Exception as fault:
            error = fault
        self.thread = None
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.job_done, self, error))

    def call_application(self):
        result = self.application(self.environ, self.start_response)
        try:
            if wraps_plain_file(result):
                self.file = result  # for the loop and sendfile()
            else:
                for piece in self.answer.pieces(result):
                    self.deliver(piece)
        finally:
            if not self.file:
                self.answer.close(result)

    def start_response(self, status, response_headers, exc_info=None):
        """As the handler's, which may be at another request when this one was given up."""
        self.answer.start(status, response_headers, exc_info)
        return self.write

    def write(self, data):
        if piece := self.answer.written(data):
            self.deliver(piece)

    def deliver(self, piece):
        """Hand *piece* to the loop, when it has sent the one before."""
        self.has_room.wait()
        if self.given_up:
            raise GivenUp
        self.has_room.clear()
        self.call_soon(functools.partial(self.handler.in_loop, self.handler.take_piece, self, piece))

    def drop(self, error):
        """It was given up and has ended: clean up what the handler would have."""
        if error:
            log.error("%s: failed after it was given up", self.answer.request, exc_info=error)
        if self.file:
            self.answer.close(self.file)
        if self.input:
            self.input.close()

    def stack(self):
        """Return where the thread is at this moment, as text."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else "still waiting for a thread"


class GivenUp(Exception):
    """Ends the application in its thread: nobody wants what it makes."""


def guarded(function, *arguments):
    """Call the application's *function*: sys.exit() in there is a fault of one request, not the end of the server."""
    try:
        return function(*arguments)
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"the application raised {error!r}") from error


def checked_result(result):
    if isinstance(result, (str, bytes)) or not (hasattr(result, "__iter__") or hasattr(result, "__getitem__")):
        raise TypeError(f"the application returned {type(result).__name__}, not an iterable of bytes")
    return result


def checked_piece(piece):
    if not isinstance(piece, bytes):
        raise TypeError(f"the application made {type(piece).__name__}, not bytes, for its body")
    return piece


@functools.lru_cache(maxsize=64)
def checked_status(status):
    """Return (code, reason) of a status such as "200 OK"; raise ValueError for anything else."""
    if not isinstance(status, str) or not STATUS.fullmatch(status):
        raise ValueError(f"start_response(): not a status: {status!r}")
    return int(status[:3]), status[4:]


def checked_fields(response_headers):
    """Return (field lines, Content-Length or None, lower-case names); raise for what PEP 3333 forbids."""
    if not isinstance(response_headers, list):
        raise TypeError(f"start_response(): not a list of fields: {response_headers!r}")
    lines, names, length = [], [], None
    for name, value in response_headers:
        line, name = checked_field(name, value)
        lines.append(line)
        names.append(name)
    if "content-length" in names:
        if names.count("content-length") > 1:
            raise ValueError("start_response(): more than one Content-Length")
        length = int(response_headers[names.index("content-length")][1])
    return lines, length, names


@functools.lru_cache(maxsize=256)  # an application says the same few again and again
def checked_field(name, value):
    """Return (field line, lower-case name); raise for what PEP 3333 forbids."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"start_response(): not a field of two strings: {name!r}: {value!r}")
    line, name = http1.field_line(name, value), name.lower()
    if is_hop_by_hop(name):
        raise ValueError(f"start_response(): {name} is the server's to say (RFC 9110 §7.6.1)")
    if name == "content-length" and not http1.LENGTH.fullmatch(value):
        raise ValueError(f"start_response(): not a length: {value!r}")
    return line, name


def whole_length(result, piece):
    """Return the length of the body if *piece*, the first of *result*, is all of it, else None."""
    try:
        return len(piece) if len(result) == 1 else None
    except TypeError:
        return None


def wraps_plain_file(result):
    """Tell whether *result* is `wsgi.file_wrapper` around a file whose descriptor gives the bytes that read() does.

    That of a gzip file, say, would give others.
    """
    if not isinstance(result, FileWrapper):
        return False
    file = result.filelike.raw if isinstance(result.filelike, io.BufferedReader) else result.filelike
    if type(file) is not io.FileIO:
        return False
    facts = os.fstat(file.fileno())
    return stat.S_ISREG(facts.st_mode) and facts.st_size > 0  # the system's own, as in /proc, have more than they say


def load_app(spec):
    """Return the application that *spec* names: "module:name", "module:object.name" or "module:factory()".

    "module" alone means "module:application".
    Exit with status 2 and one line if there is none; an exception inside the module goes on with its traceback.
    """
    module_name, _, expression = spec.partition(":")
    expression = expression or "application"
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not (module_name + ".").startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        exit_with(f"no module named {error.name!r}")
    for name in expression.removesuffix("()").split("."):
        if not hasattr(found, name):
            exit_with(f"{module_name!r} has no {name!r} ({spec})")
        found = getattr(found, name)
    if expression.endswith("()"):
        found = found()
    if not callable(found):
        exit_with(f"{spec} is not callable")
    return found


def exit_with(message):
    print(f"async_wsgi.py: {message}", file=sys.stderr)
    sys.exit(2)


def parse_args(arguments=None):
    parser = command_line.argument_parser("Serve a WSGI application over HTTP.")
    parser.add_argument("application", metavar="module:callable", type=app_spec, help="such as my_app:application")
    parser.add_argument("--threads", type=thread_count, default=0, help="threads for an application that blocks")
    parser.add_argument("--script-name", type=prefix, metavar="/PREFIX", help="where it is mounted")
    parser.add_argument(
        "--static",
        type=static_folder,
        action="append",
        default=[],
        metavar="/PREFIX=FOLDER",
        help="serve files under this path; may be repeated",
    )
    parser.add_argument(
        "--trusted-proxy",
        type=network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="believe (X-)Forwarded fields from here; may be repeated",
    )
    parser.add_argument("--reload", action="store_true", help="start anew when a source file changes (development)")
    args = parser.parse_args(arguments)
    if args.reload and args.workers > 1:
        parser.error("--reload goes with one worker")
    return args


def app_spec(text):
    if not re.fullmatch(r"\w+(\.\w+)*(:\w+(\.\w+)*(\(\))?)?", text):
        raise argparse.ArgumentTypeError(f"not a module:callable: {text!r}")
    return text


def thread_count(text):
    if command_line.whole_number(text) > 1000:
        raise argparse.ArgumentTypeError(f"not a number of threads: {text!r}")
    return int(text)


def prefix(text):
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise argparse.ArgumentTypeError(f"not a path such as /static: {text!r}")
    return text


def static_folder(text):
    path, equals, name = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"not /prefix=folder: {text!r}")
    return prefix(path), os.path.realpath(command_line.folder(name))


def network(text):
    import ipaddress

    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network: {error}") from error


def watch_sources(interval=0.5):
    """Send the master SIGHUP when a source file of the application has changed; runs in a thread of the worker.

    The master starts a new worker and, if that cannot boot for a syntax error, keeps this one.
    """
    seen, started, master = {}, time.time_ns(), os.getppid()
    while True:
        before, seen = seen, source_times()
        # A file that has only now been loaded may have changed since we began to load.
        if any(seen.get(path) != changed for path, changed in before.items()) or any(
            changed and changed > started for path, changed in seen.items() if path not in before
        ):
            log.info("a source file has changed")
            if os.getppid() == master:  # else it has been killed, and its place taken by a stranger
                os.kill(master, signal.SIGHUP)
        time.sleep(interval)


def source_times():
    """Return {path: time of last change} of what is loaded and not installed, and of the Python files beside it."""
    import glob

    installed = (sys.prefix, sys.base_prefix)
    loaded = {
        os.path.abspath(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)
    }
    files = {path for path in loaded if not path.startswith(installed)}
    for folder in {os.path.dirname(path) for path in files}:
        files.update(glob.glob(os.path.join(folder, "*.py")))
    times = {}
    for path in files:
        try:
            times[path] = os.stat(path).st_mtime_ns
        except OSError:
            times[path] = None  # deleted, or just being replaced by an editor
    return times


def run():
    args = parse_args()
    AsyncWSGIServer.threads = args.threads
    AsyncWSGIServer.multiprocess = args.workers > 1
    AsyncWSGIRequestHandler.script_name = args.script_name or ""
    AsyncWSGIRequestHandler.static_folders = dict(args.static)
    AsyncWSGIRequestHandler.trusted_proxies = args.trusted_proxy
    AsyncWSGIRequestHandler.request_timeout = args.timeout

    def boot(server):
        if args.reload:
            threading.Thread(target=watch_sources, daemon=True).start()
        application = load_app(args.application)
        try:
            server.set_app(application)
        except RuntimeError as error:
            sys.exit(f"async_wsgi.py: --threads {args.threads}: {error}")

    command_line.serve(args, AsyncWSGIServer, AsyncWSGIRequestHandler, boot)


if __name__ == "__main__":
    run()

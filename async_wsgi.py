"""A WSGI server (PEP 3333) on the same engine: `python async_wsgi.py my_app:application`.

httpd.py tells how requests arrive and how bytes leave. This file only replaces what makes the answer:
handle_request() calls the application, finish_response() sends what it returns.

The application runs in the loop, as the lab asks, and while it computes no other client is served. Its iterable becomes
a producer, which is asked for a piece when the piece before has left. So a slow client slows the application down
instead of filling memory. With --threads the application runs in a pool of threads and may block
(asynchttpd/threads.py), but still only the loop touches sockets.

Besides the parts of httpd.py it stands on these in asynchttpd/:
answer.py   what an application says about its answer, checked by PEP 3333
threads.py  one request in a thread of the pool
proxy.py    who the client is behind trusted proxies
loading.py  from "module:callable" to the application; reload.py watches its sources
"""

import functools
import socket
import sys
import threading
import time
from wsgiref.util import FileWrapper

import httpd
from asynchttpd import command_line, http1, logs, running, scoreboard, values
from asynchttpd.answer import Answer, guarded, producer_of
from asynchttpd.channel import CLOSED, SENDING
from asynchttpd.http1 import HTTPError
from asynchttpd.loading import NoApplication, import_late, load_app
from asynchttpd.parser import fail
from asynchttpd.producers import Aborted
from asynchttpd.threads import Job, Pool
from httpd import log


class AsyncWSGIServer(httpd.AsyncServer):
    """A listening socket with an application behind it."""

    threads = 0  # threads that run the application; 0: it runs in the loop
    queue_limit = 64  # requests that may wait for a thread; above it 503
    timeout = 30.0  # seconds after which a busy thread is logged with its stack; a worker with no other is replaced
    multiprocess = False  # do other processes also call the application?

    def __init__(self, host="127.0.0.1", port=9000, handler=None, map=None, sockets=()):
        super().__init__(host, port, handler or AsyncWSGIRequestHandler, map, sockets)

    def set_app(self, application):
        """Serve *application*, a callable(environ, start_response) as PEP 3333 defines it."""
        self.application = application
        self.pool = None
        if self.threads:
            self.pool = Pool(self.threads, self.queue_limit, self.timeout)
            self._map.every_turn.append(self.pool.hand_over)
        self.environ = {  # the part that is the same for every request
            **address_variables(self.socket),
            "wsgi.version": (1, 0),
            "wsgi.errors": logs.error_stream(),
            "wsgi.multithread": self.threads > 1,
            "wsgi.multiprocess": self.multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
        }

    def get_app(self):
        return self.application

    def report(self):
        super().report()
        if self.pool:
            self.pool.look()
            queued = len(self.pool.waiting())
            self.row[scoreboard.QUEUED], self.row[scoreboard.THREADS] = queued, len(self.pool.jobs) - queued
        if self.pool and self.pool.is_stuck:
            self.ask_for_successor("no thread is left")
            for job in self.pool.waiting():
                job.handler.in_loop(job.handler.turn_away, HTTPError(503, "all threads are stuck"))

    def serve_forever(self):
        super().serve_forever()
        if self.pool:
            self.pool.end()
        self.application = None  # what only it holds, such as open files, ends with the program and not after it


class AsyncWSGIRequestHandler(httpd.AsyncHTTPRequestHandler):
    """One connection; the application answers its requests."""

    __slots__ = ("answer", "forwarded", "job")

    script_name = ""  # where the application is mounted; taken off the path if the proxy has left it there
    static_folders = {}  # {"/prefix": folder}: answered with files, by the parent class
    trusted_proxies = ()  # networks whose word about the client is believed (see proxy.py)
    request_timeout = 0  # seconds until the first byte of an application in a thread, then 504; 0: any time

    def reset_request(self):
        httpd.AsyncHTTPRequestHandler.reset_request(self)
        self.answer = None  # the Answer of the application
        self.job = None  # the application at work in a thread, or at pieces that are all empty
        self.forwarded = None  # what trusted proxies say of the client, once it has been asked for

    def mount(self):
        """Return the prefix of the static folder that answers, None if the application does."""
        inside = [prefix for prefix in self.static_folders if self.path.startswith(prefix + "/")]
        return max(inside, key=len, default=None)

    def handles(self, method):
        return method != "CONNECT" if self.mount() is None else super().handles(method)

    def wants_body(self, method):
        return self.mount() is None or super().wants_body(method)

    def handle_request(self):
        """Have the application answer. The parent answers for files, and `OPTIONS *`, which asks about the server."""
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
        self.root = self.static_folders[mount]  # until the next request here sets it again
        return super().translate_path(path.removeprefix(mount))

    def get_environ(self):
        """Return the environ of the request (PEP 3333, "environ Variables")."""
        target, _, query = self.path.partition("?")
        path = target
        if "%" in target:
            path = http1.percent_decoded(target).decode("latin-1")
        if self.script_name and (path + "/").startswith(self.script_name + "/"):
            path = path[len(self.script_name) :]
        environ = self.server.environ.copy()
        if len(self.server.doors) > 1:
            environ.update(address_variables(self.socket))
        environ["REQUEST_METHOD"] = self.command
        environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"] = self.script_name, path, query
        environ["REQUEST_URI"] = environ["RAW_URI"] = self.path  # as it came: with %2F told from a slash
        environ["SERVER_PROTOCOL"] = self.request_version
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self.addr[0].removeprefix("::ffff:"), str(self.addr[1])
        environ["wsgi.url_scheme"], environ["wsgi.input"] = self.scheme, self.rfile
        environ["asynchttpd.client_disconnected"] = self.client_disconnected
        environ.update(self.headers.variables or variables_of(self.headers))
        if "CONTENT_LENGTH" in environ:
            # True also of a body that came chunked.
            environ["CONTENT_LENGTH"] = str(self.body.received) if self.body else "0"
        if self.trusted_proxies:
            self.apply_forwarding(environ)
        return environ

    def client_named_by_proxies(self):
        """Return the proxy.Hop of the client; the peer itself if no proxy is trusted or none has said anything."""
        if self.forwarded is None:
            from asynchttpd import proxy

            peer = httpd.AsyncHTTPRequestHandler.client_address(self)
            self.forwarded = proxy.client_of(peer, self.headers, self.trusted_proxies)
        return self.forwarded

    def client_address(self):
        if self.trusted_proxies and self.headers is not None:
            return self.client_named_by_proxies().node
        return httpd.AsyncHTTPRequestHandler.client_address(self)

    def apply_forwarding(self, environ):
        client = self.client_named_by_proxies()
        if client.node != environ["REMOTE_ADDR"]:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client.node, ""
        if client.scheme:
            environ["wsgi.url_scheme"] = client.scheme
        if client.host and http1.is_authority(client.host):
            environ["HTTP_HOST"] = client.host

    def client_disconnected(self):
        """Tell whether the client has left. May be called from any thread."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def start_response(self, status, response_headers, exc_info=None):
        """Note the status and the fields of the answer; return write() (PEP 3333, "start_response()")."""
        self.answer.start(status, response_headers, exc_info)
        return self.answer.write

    def write_piece(self, answer, data):
        """The write() that start_response() returns: send *data*, a piece of *answer*, now."""
        if self.state is CLOSED:
            raise Aborted("the client has left")
        if self.answer is not answer:
            raise RuntimeError("write() of an earlier request")
        if piece := answer.written(data):
            if self.state is SENDING:  # PEP 3333 does not allow it, other servers do
                answer.ahead += piece
                return
            try:
                self.send_piece(piece)
            except OSError as error:  # of our own socket; the application's are told apart (answer.guarded)
                raise Aborted("the client has left") from error

    def finish_response(self, result):
        """Send what the application has returned, piece by piece, as fast as the client takes it."""
        self.send_pieces(producer_of(self.answer, result, self.chunk_size))

    def send_pieces(self, producer):
        try:
            # Before the head: this may still fail, or call start_response().
            piece = b"" if self.answer.begun else producer.more()
            if piece is None:
                self.ask_again(producer)
                return
            self.queue_piece(piece)
        except BaseException:
            producer.close()
            raise
        if self.answer.full:
            producer.close()  # as when the body is a list of one piece: the application has no work to do after it
        else:
            self.queue_producer(producer)

    def ask_again(self, producer):
        """Nothing but empty pieces has come, and no head has been made: let others have their turn."""
        if self.deadline is None:
            self.deadline = time.monotonic() + self.send_timeout
        self.job = producer
        self._map.call_soon(functools.partial(self.in_loop, self.asked_again, producer))

    def asked_again(self, producer):
        if self.job is producer:  # else it was given up
            self.job = None
            self.attempt(self.send_pieces, producer)
            self.end_response()

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
        self.send_response(answer.code, answer.reason or None)
        if answer.names:
            self.close_connection = self.close_connection or "connection" in answer.names
            self.head = [line for line in self.head if line.partition(":")[0].lower() not in answer.names]
        self.head.extend(answer.lines)
        self.length = answer.length
        self.end_headers()

    # With threads: what runs in the loop while the application runs in a thread.

    def start_job(self):
        if self.server.pool.is_full():
            raise HTTPError(503, "all threads are busy and the queue is full")
        self.job = Job(self)
        if self.request_timeout:
            self.deadline = time.monotonic() + self.request_timeout
        self.server.pool.start(self.job)

    def end_response(self):
        if self.job is None:
            httpd.AsyncHTTPRequestHandler.end_response(self)

    def in_loop(self, method, *arguments):
        """Run a *method* that a thread has asked for, and treat exceptions as asyncore does in an event."""
        try:
            method(*arguments)
        except Exception:
            self.handle_error()
        if self.state is not CLOSED:
            self._map.touch(self._fileno)  # there was no event, so the loop would not ask what we want now

    def take_piece(self, job, piece):
        if self.job is job:
            self.send_piece(piece)

    def job_done(self, job, error):
        self.server.pool.jobs.discard(job)
        if self.job is job:
            self.job = None
            self.attempt(self.complete, job, error)
            self.end_response()
        else:
            job.drop(error)
            if job.input:
                job.input.close()

    def complete(self, job, error):
        if error:
            raise error
        if job.body:
            self.queue_piece(job.body)
        elif job.file:
            self.finish_response(job.file)
        elif self.status is None:
            self.queue_piece(b"")

    def queue_emptied(self):
        if self.job is None:
            httpd.AsyncHTTPRequestHandler.queue_emptied(self)
        else:
            if self.status is not None:
                self.deadline = None  # the client has taken everything; now the application must act
            self.job.make_room()

    def handle_timeout(self):
        if self.job and self.status is None:
            log.error('%s "%s %s" takes too long:\n%s', self.client, self.command, self.path, self.job.stack())
            self.turn_away(HTTPError(504, "the application takes too long"))
        else:
            super().handle_timeout()

    def turn_away(self, error):
        self.give_up_job()
        self.refuse(error)

    def closed(self, state):
        if self.job:
            self.give_up_job()
        super().closed(state)

    def give_up_job(self):
        self.job.give_up(self.body)
        self.job = self.body = None


def address_variables(sock):
    """Return SERVER_NAME and SERVER_PORT for a socket: where it is, or where the client has found us."""
    if sock.family == socket.AF_UNIX:
        return {"SERVER_NAME": "localhost", "SERVER_PORT": "80"}  # whoever connects there knows better, and says it
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return {"SERVER_NAME": f"[{host}]" if ":" in host else host, "SERVER_PORT": str(port)}  # RFC 3875 §4.1.14


def variables_of(fields):
    """Return {variable: value} for the environ; it is kept with the fields, which several requests may share."""
    named = {
        (remembered_name if len(name) <= http1.SHORT else variable_name)(name): value for name, value in fields.items()
    }
    named.pop(None, None)
    fields.variables = named
    return named


def variable_name(field_name):
    """Return the environ's name for a field of the request; None if it must not be there."""
    if field_name in ("content-length", "transfer-encoding"):
        return "CONTENT_LENGTH"
    if field_name == "content-type":
        return "CONTENT_TYPE"
    # X_Forwarded_For would look like X-Forwarded-For, and Proxy like a variable that HTTP clients obey.
    if "_" in field_name or field_name == "proxy":
        return None
    return "HTTP_" + field_name.upper().replace("-", "_")


remembered_name = functools.lru_cache(maxsize=256)(variable_name)


def parse_args(arguments=None):
    parser = command_line.argument_parser("Serve a WSGI application over HTTP.")
    command_line.add_application_options(parser)
    args = parser.parse_args(arguments)
    if args.reload and args.workers > 1:
        parser.error("--reload goes with one worker")
    if args.request_timeout and not args.threads:
        parser.error("--request-timeout goes with --threads")
    return args


def run():
    args = parse_args()
    AsyncWSGIServer.threads = args.threads
    AsyncWSGIServer.multiprocess = args.workers > 1
    AsyncWSGIServer.timeout = args.timeout
    AsyncWSGIRequestHandler.script_name = args.script_name or ""
    AsyncWSGIRequestHandler.trusted_proxies = args.trusted_proxy
    AsyncWSGIRequestHandler.request_timeout = args.request_timeout

    late = import_late(args, values.current_folder())

    def boot(server):
        folders = {prefix: running.release_folder(folder) for prefix, folder in args.static}
        AsyncWSGIRequestHandler.static_folders = folders
        if args.reload:
            from asynchttpd.reload import watch_sources

            sys.dont_write_bytecode = True  # it is told from new source by whole seconds only
            threading.Thread(target=watch_sources, args=(server, time.time_ns()), daemon=True).start()
        try:
            application = load_app(args.application, late)
        except NoApplication as error:
            fail(2, error)
        try:
            server.set_app(application)
        except RuntimeError as error:
            fail(1, f"--threads {args.threads}: {error}")

    plain = httpd.AsyncServer, httpd.BaseHTTPRequestHandler
    running.serve(args, AsyncWSGIServer, AsyncWSGIRequestHandler, boot, plain)


if __name__ == "__main__":
    if sys.path[0] == values.current_folder():
        del sys.path[0]  # until the application is loaded
    run()

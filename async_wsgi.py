"""A WSGI server (PEP 3333) on the same engine: `python async_wsgi.py my_app:application`.

How requests arrive and how bytes leave is httpd.py's story. Here only what makes the answer is replaced:
handle_request() calls the application, finish_response() queues what it returns.
"""

import importlib
import os
import re
import sys

import httpd
from http1 import HTTPError

STATUS = re.compile(r"[1-9][0-9]{2} [\t -~\x80-\xff]*")


class AsyncWSGIServer(httpd.AsyncServer):
    """A listening socket with an application behind it."""

    application = None

    def set_app(self, application):
        self.application = application

    def get_app(self):
        return self.application


class AsyncWSGIRequestHandler(httpd.AsyncHTTPRequestHandler):
    """One connection, the requests of which the application answers."""

    multiprocess = False  # wsgi.multiprocess: may another process call the application at the same time?

    def handles(self, method):
        return method != "CONNECT"

    def handle_request(self):
        if not self.handles(self.command):
            raise HTTPError(501, "no tunnels here")
        if self.path == "*":
            self.do_OPTIONS()
            return
        result = self.server.get_app()(self.get_environ(), self.start_response)
        try:
            self.finish_response(result)
        finally:
            if hasattr(result, "close"):
                result.close()

    def get_environ(self):
        """Return what the application is told about the request (PEP 3333)."""
        path, _, query = self.path.partition("?")
        host, port = self.server.socket.getsockname()[:2]
        environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": httpd.urllib.parse.unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.address[0],
            "REMOTE_PORT": str(self.address[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self.rfile or httpd.io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": self.multiprocess,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            if name in ("content-type", "content-length"):
                environ[name.upper().replace("-", "_")] = value
            elif "_" not in name and name != "proxy":
                # X_Forwarded_For would be taken for X-Forwarded-For; Proxy for the variable that HTTP clients obey.
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ

    def start_response(self, status, response_headers, exc_info=None):
        """Start the answer, as PEP 3333 wants it."""
        if exc_info:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise AssertionError("start_response called a second time without exc_info")
        if not STATUS.fullmatch(status):
            raise ValueError(f"not a status: {status!r}")
        self.send_response(int(status[:3]), status[4:])
        for name, value in response_headers:
            self.send_header(name, value)
        return self.write

    def finish_response(self, result):
        """Queue the pieces of *result*, the application's iterable."""
        for piece in result:
            if piece:
                self.write(piece)
        if self.status is None:
            raise RuntimeError("the application did not call start_response")
        if not self.unsent:
            self.end_headers()

    def write(self, data):
        if not self.unsent:
            self.end_headers()
        return super().write(data)


def load_app(spec):
    """Return the application that *spec* names: "module:attribute", "module:object.attribute" or "module:factory()".

    Exit with status 2 and one line if there is none; an exception in the module itself shows where.
    """
    module_name, _, attribute = spec.partition(":")
    attribute = attribute or "application"
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        fail(f"no module named {error.name!r}")
    for name in attribute.removesuffix("()").split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            fail(f"no {name!r} in {spec!r}")
    if attribute.endswith("()"):
        found = found()
    if not callable(found):
        fail(f"{spec!r} is not callable")
    return found


def fail(message):
    print(f"async_wsgi.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def parse_args(arguments=None):
    parser = httpd.argument_parser("Serve a WSGI application over HTTP.")
    parser.add_argument("application", metavar="module:callable", help="such as my_app:application")
    return parser.parse_args(arguments)


def run():
    args = parse_args()
    AsyncWSGIRequestHandler.multiprocess = args.workers > 1
    httpd.run(
        args, AsyncWSGIServer, AsyncWSGIRequestHandler, boot=lambda server: server.set_app(load_app(args.application))
    )


if __name__ == "__main__":
    run()

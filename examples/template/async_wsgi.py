"""The lab's template, part 2: an asynchronous WSGI server.

python async_wsgi.py my_app:application
"""

import argparse
import importlib
import sys

import httpd


class AsyncWSGIServer(httpd.AsyncServer):
    """Listens like the file server, and has an application."""

    def set_app(self, application):
        self.application = application

    def get_app(self):
        return self.application

    def handle_accepted(self, sock, addr):
        httpd.log.debug("Incoming connection from %s", addr)
        AsyncWSGIRequestHandler(sock, self)


class AsyncWSGIRequestHandler(httpd.AsyncHTTPRequestHandler):
    """One connection; the application answers its requests."""

    def __init__(self, sock, server):
        super().__init__(sock)
        self.server = server

    def get_environ(self):
        """Return the dict that PEP 3333 asks for: REQUEST_METHOD, PATH_INFO, wsgi.input ..."""
        raise NotImplementedError("get_environ")

    def start_response(self, status, response_headers, exc_info=None):
        """Keep status and fields until the first piece of the body."""
        raise NotImplementedError("start_response")

    def handle_request(self):
        """Call the application, and finish the response with what it returns."""
        raise NotImplementedError("handle_request")

    def finish_response(self, result):
        """Send the head, and all pieces of *result*."""
        raise NotImplementedError("finish_response")


def run():
    parser = argparse.ArgumentParser(description="Simple asynchronous WSGI server")
    parser.add_argument("app", metavar="module:callable")
    args = httpd.parse_args(parser)
    module, _, name = args.app.partition(":")
    sys.path.insert(0, "")  # the application is in the folder we were started in
    server = AsyncWSGIServer(args.host, args.port)
    server.set_app(getattr(importlib.import_module(module), name))
    httpd.log.info("Serving %s on %s:%d", args.app, *server.socket.getsockname())
    server.serve_forever()


if __name__ == "__main__":
    run()

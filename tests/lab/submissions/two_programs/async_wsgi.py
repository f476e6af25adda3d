"""Answers with the application's body, and forgets its length: the connection stays open."""

import argparse
import importlib
import io
import sys

import httpd


class AsyncWSGIServer(httpd.AsyncServer):
    def set_app(self, application):
        self.application = application

    def get_app(self):
        return self.application

    def handle_accepted(self, sock, addr):
        AsyncWSGIRequestHandler(sock).server = self


class AsyncWSGIRequestHandler(httpd.AsyncHTTPRequestHandler):
    def get_environ(self):
        path, _, query = self.uri.partition("?")
        return {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "9000",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

    def start_response(self, status, response_headers, exc_info=None):
        code, _, message = status.partition(" ")
        self.send_response(code, message)
        for name, value in response_headers:
            self.send_header(name, value)

    def handle_request(self):
        self.finish_response(self.server.get_app()(self.get_environ(), self.start_response))

    def finish_response(self, result):
        self.end_headers()
        for piece in result:
            self.push(piece)


parser = argparse.ArgumentParser()
parser.add_argument("app")
args = httpd.parse_args(parser)
module, _, name = args.app.partition(":")
sys.path.insert(0, "")
server = AsyncWSGIServer(args.host, args.port)
server.set_app(getattr(importlib.import_module(module), name))
server.serve_forever()

"""Answers carry no Content-Length, and the connection stays open all the same: every client waits in vain."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        super().end_headers()


httpd.run(handler=Handler)

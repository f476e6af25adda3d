"""Answers carry no Content-Length, so only the end of the connection shows where they end."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        self.close_connection = True
        super().end_headers()


httpd.run(handler=Handler)

"""Answers Hello World without a length, and keeps the connection open."""

import async_wsgi


class Handler(async_wsgi.AsyncWSGIRequestHandler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        super().end_headers()


async_wsgi.AsyncWSGIRequestHandler = Handler
async_wsgi.run()

"""A request that has begun is waited for to its end, and all other clients wait with it."""

import select

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def handle_read(self):
        super().handle_read()
        while self.state is httpd.HEAD:
            select.select([self.socket], [], [])  # as recv() on a blocking socket does
            super().handle_read()


httpd.run(handler=Handler)

"""HEAD is answered with the application's body."""

import async_wsgi


class Handler(async_wsgi.AsyncWSGIRequestHandler):
    def handle_request(self):
        self.command = "GET"
        super().handle_request()


async_wsgi.AsyncWSGIRequestHandler = Handler
async_wsgi.run()

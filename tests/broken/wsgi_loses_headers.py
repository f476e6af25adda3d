"""start_response() keeps the status and forgets the headers."""

import async_wsgi


class Handler(async_wsgi.AsyncWSGIRequestHandler):
    def start_response(self, status, response_headers, exc_info=None):
        return super().start_response(status, [], exc_info)


async_wsgi.AsyncWSGIRequestHandler = Handler
async_wsgi.run()

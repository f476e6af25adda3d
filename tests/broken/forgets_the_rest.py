"""After a short send() the rest is never sent."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    chunk_size = 1 << 30  # bytes: the whole file in one send(), so that it does come up short

    def send(self, data):
        return len(data) if super().send(data) else 0


httpd.run(handler=Handler)

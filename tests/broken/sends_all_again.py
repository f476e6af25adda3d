"""After a short send() the whole piece is sent again, not the rest: the handout's own bug."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    chunk_size = 1 << 30  # bytes: the whole file in one send(), so that it does come up short

    def send(self, data):
        sent = super().send(data)
        return sent if sent == len(data) else 0


httpd.run(handler=Handler)

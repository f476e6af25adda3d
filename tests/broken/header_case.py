"""Fields are looked up as the client spelled them, so CONNECTION is not Connection."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def parse_headers(self):
        head = b"".join(self.pieces)
        super().parse_headers()
        if b"\r\nConnection:" not in head:
            self.close_connection = self.request_version < "HTTP/1.1"


httpd.run(handler=Handler)

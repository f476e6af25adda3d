"""GET /endless answers with zeros until the client leaves; GET /open tells how many such answers are under way.

close() tells a producer of its end, whatever the cause: after b"", after an error, or when the client has left.
"""

import httpd


class Zeros:
    """A producer that never ends, and a class that knows how many there are."""

    open = 0

    def __init__(self):
        Zeros.open += 1

    def more(self):
        return bytes(4096)

    def close(self):
        Zeros.open -= 1


class Endless(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.push_with_producer(Zeros())
        elif self.path == "/open":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.push(b"%d\n" % Zeros.open)
        else:
            super().do_GET()


if __name__ == "__main__":
    httpd.run(handler=Endless)

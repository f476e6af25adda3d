"""GET /block?MS holds up the loop for that many milliseconds; GET /lag tells how late the loop has been at most.

The sweep runs once a second unless something holds up the loop. So the time between two sweeps, less that second, is
the time for which a function did not return.
"""

import time

import httpd
from asynchttpd import ioloop


class Lag:
    """How many seconds a sweep has been late at most."""

    def __init__(self):
        self.swept, self.longest = time.monotonic(), 0.0

    def sweep(self):
        now = time.monotonic()
        self.longest = max(self.longest, now - self.swept - ioloop.SWEEP_INTERVAL)
        self.swept = now


class Laggard(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        path, _, milliseconds = self.path.partition("?")
        if path == "/block":
            time.sleep(int(milliseconds) / 1000)
            self.answer("blocked\n")
        elif path == "/lag":
            self.answer(f"{self.server.lag.longest * 1000:.0f}\n")
        else:
            super().do_GET()

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.push(text.encode("ascii"))


def boot(server):
    server.lag = Lag()
    server._map.every_second.append(server.lag.sweep)


if __name__ == "__main__":
    httpd.run(handler=Laggard, boot=boot)

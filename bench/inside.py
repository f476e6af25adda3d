"""What Python itself spends on a request: python bench/inside.py [CHECKOUT ...]

The handlers run on a socket that costs nothing, so what is left is our own code and, for files, open to close. Each
figure is the least of many rounds, in microseconds. Other checkouts (git worktree add ../before COMMIT) are measured
beside this one, in turns, each in a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
REQUESTS, ROUNDS, TURNS = 3000, 5, 3

PLAIN = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"
BROWSER = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nCache-Control: max-age=0\r\n\r\n"
)
CASES = {
    "hello": ("wsgi", PLAIN % b"/hello"),
    "hello, a browser's nine fields": ("wsgi", BROWSER % b"/hello"),
    "1 KiB file": ("files", PLAIN % b"/1k.txt"),
    "1 KiB file, nine fields": ("files", BROWSER % b"/1k.txt"),
}


class FreeSocket:
    """Always has the same request, takes every answer at once."""

    def __init__(self, request):
        self.request, self.sent = request, 0

    def recv(self, size):
        return self.request

    def send(self, data):
        self.sent += 1
        return len(data)

    def fileno(self):
        return 10**6  # nobody's

    def setblocking(self, flag):
        pass

    def getpeername(self):
        return "127.0.0.1", 40000


def microseconds(kind, request):
    """Return what one *request* costs."""
    import apps

    import async_wsgi
    import httpd
    import ioloop

    channels = ioloop.EventMap()
    if kind == "wsgi":
        server = async_wsgi.AsyncWSGIServer("127.0.0.1", 0, async_wsgi.AsyncWSGIRequestHandler, channels)
        server.set_app(apps.application)
    else:
        server = httpd.AsyncServer("127.0.0.1", 0, httpd.AsyncHTTPRequestHandler, channels)
    sock = FreeSocket(request)
    channel = server.handler(sock, server, ("127.0.0.1", 40000), channels)
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REQUESTS):
            ioloop.asyncore.read(channel)
        least = min(least, time.process_time() - started)
    assert sock.sent == REQUESTS * ROUNDS, "not every request was answered at once"
    server.socket.close()
    return least / REQUESTS * 1e6


def measure(checkout):
    """In a process of its own: print the figures of *checkout*, one a line."""
    sys.path[:0] = [checkout, str(BENCH)]
    import httpd

    with tempfile.TemporaryDirectory() as root:
        Path(root, "1k.txt").write_bytes(b"x" * 1024)
        httpd.AsyncHTTPRequestHandler.root = root
        for kind, request in CASES.values():
            print(microseconds(kind, request))


def main(checkouts):
    least = {}
    for _ in range(TURNS):
        for checkout in checkouts:
            command = [sys.executable, __file__, "--measure", checkout]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            figures = zip(map(float, lines), least.get(checkout, [float("inf")] * len(lines)), strict=True)
            least[checkout] = list(map(min, figures))
    for checkout in checkouts:
        print(checkout)
        for case, figure in zip(CASES, least[checkout], strict=True):
            print(f"  {figure:6.1f} us  {case}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        main([str(BENCH.parent), *sys.argv[1:]])

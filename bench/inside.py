"""What Python itself spends on a request: python bench/inside.py [CHECKOUT ...]

Loop and handlers run on sockets and a poller that cost nothing, so what is left is our own code and, for files, open to
close. Each figure is the least of many rounds, in microseconds. Other checkouts (git worktree add ../before COMMIT) are
measured beside this one, in turns, each in a process of its own.
"""

import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
CONNECTIONS, TURNS, ROUNDS, PROCESSES = 30, 100, 5, 3

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

    def __init__(self, request, fd):
        self.request, self.fd, self.sent = request, fd, 0

    def recv(self, size):
        return self.request

    def send(self, data):
        self.sent += 1
        return len(data)

    def fileno(self):
        return self.fd

    def setblocking(self, flag):
        pass

    def getpeername(self):
        return "127.0.0.1", 40000


class FreePoller:
    """Finds that all of *sockets* are ready to be read, on every turn."""

    def __init__(self, sockets):
        self.events = [(sock.fd, select.POLLIN) for sock in sockets]

    def poll(self, timeout, limit):
        return self.events

    def register(self, fd, events):
        pass


def microseconds(kind, request):
    """Return what one *request* costs."""
    import apps

    import async_wsgi
    import httpd

    ioloop = sys.modules[httpd.loop.__module__]  # in a package or, in older checkouts, beside httpd.py
    listening, channels = ioloop.EventMap(), ioloop.EventMap()
    if kind == "wsgi":
        server = async_wsgi.AsyncWSGIServer("127.0.0.1", 0, async_wsgi.AsyncWSGIRequestHandler, listening)
        server.set_app(apps.application)
    else:
        server = httpd.AsyncServer("127.0.0.1", 0, httpd.AsyncHTTPRequestHandler, listening)
    sockets = [FreeSocket(request, 10**6 + number) for number in range(CONNECTIONS)]  # nobody's descriptors
    channels.poller = FreePoller(sockets)
    for sock in sockets:
        server.handler(sock, server, ("127.0.0.1", 40000), channels)
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(TURNS):
            channels.poll(0)
        least = min(least, time.process_time() - started)
    assert {sock.sent for sock in sockets} == {TURNS * ROUNDS}, "not every request was answered in its turn"
    server.socket.close()
    return least / (TURNS * CONNECTIONS) * 1e6


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
    for _ in range(PROCESSES):
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

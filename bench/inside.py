"""What Python itself spends on a request: python bench/inside.py [--last-release] [CHECKOUT or COMMIT ...]

Loop and handlers run on sockets and a poller that cost nothing, so what is left is our own code and, for files, open to
close. Each figure is the least of many rounds, in microseconds. Other checkouts or commits are measured beside this
one, in turns, each in a process of its own; what is here is also shown as a share of what is there.
"""

import itertools
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
CONNECTIONS, TURNS, ROUNDS, PROCESSES = 30, 40, 8, 3

PLAIN = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"
BROWSER = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: a=b; c=%d\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nCache-Control: max-age=0\r\n\r\n"
)


def of_clients(count):
    """Return the requests of *count* clients, whose cookies differ, for 16 paths in turn."""
    return [BROWSER % (b"/hello/%d" % path, client) for path in range(16) for client in range(count)]


CASES = {
    "hello": ("wsgi", [PLAIN % b"/hello"]),
    "hello, a browser's nine fields": ("wsgi", [BROWSER % (b"/hello", 0)]),
    "hello, nine fields of 64 clients, 16 paths": ("wsgi", of_clients(64)),
    "hello, nine fields that never come again": ("wsgi", [BROWSER % (b"/hello", number) for number in range(1000)]),
    "hello, nine fields, 8 threads": ("threads", [BROWSER % (b"/hello", 0)]),
    "1 KiB file": ("files", [PLAIN % b"/1k.txt"]),
    "1 KiB file, nine fields": ("files", [BROWSER % (b"/1k.txt", 0)]),
}


class FreeSocket:
    """Always has the next of *requests*, takes every answer at once."""

    def __init__(self, requests, fd):
        self.requests, self.fd, self.sent = requests, fd, 0

    def recv(self, size):
        return next(self.requests)

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
    """Finds that whoever wants to read can, on every turn; waits for other threads when nobody wants to."""

    def __init__(self, poller):
        self.poller, self.ready = poller, {}

    def poll(self, timeout, limit):
        return list(self.ready.values()) or self.poller.poll(timeout, limit)

    def register(self, fd, events):
        self.ready.pop(fd, None)
        if events & select.POLLIN:
            self.ready[fd] = fd, select.POLLIN

    modify = register


def microseconds(kind, requests):
    """Return what one of *requests* costs."""
    import apps

    import async_wsgi
    import httpd

    ioloop = sys.modules[httpd.loop.__module__]  # in a package or, in older checkouts, beside httpd.py
    listening, channels = ioloop.EventMap(), ioloop.EventMap()
    if kind == "files":
        server = httpd.AsyncServer("127.0.0.1", 0, httpd.AsyncHTTPRequestHandler, listening)
    else:
        server = async_wsgi.AsyncWSGIServer("127.0.0.1", 0, async_wsgi.AsyncWSGIRequestHandler, listening)
        server.threads = 8 if kind == "threads" else 0
        server.set_app(apps.application)
        channels.every_turn += listening.every_turn  # which wakes the threads
    requests = itertools.cycle(requests)
    sockets = [FreeSocket(requests, 10**6 + number) for number in range(CONNECTIONS)]  # nobody's descriptors
    channels.update_touched()  # opens the poller, which other threads wake
    channels.poller = FreePoller(channels.poller)
    for sock in sockets:
        server.handler(sock, server, ("127.0.0.1", 40000), channels)
    least = min(seconds_of_round(channels, sockets) for _ in range(ROUNDS))
    server.socket.close()
    return least * 1e6


def seconds_of_round(channels, sockets):
    """Return the processor time of one request in a round of many. The last turn may answer more than are asked for."""
    before, answered, started = sum(sock.sent for sock in sockets), 0, time.process_time()
    while answered < TURNS * CONNECTIONS:
        channels.poll(1)
        answered = sum(sock.sent for sock in sockets) - before
    return (time.process_time() - started) / answered


def measure(checkout):
    """In a process of its own: print the figures of *checkout*, one a line."""
    sys.path[:0] = [checkout, str(BENCH)]
    import httpd

    with tempfile.TemporaryDirectory() as root:
        Path(root, "1k.txt").write_bytes(b"x" * 1024)
        httpd.AsyncHTTPRequestHandler.root = root
        for kind, requests in CASES.values():
            print(microseconds(kind, requests), flush=True)


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"here": BENCH.parent} | {name: checkout(name, Path(folder)) for name in names}
        least = {name: [float("inf")] * len(CASES) for name in checkouts}
        for _ in range(PROCESSES):
            for name, path in checkouts.items():
                command = [sys.executable, __file__, "--measure", path]
                lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
                least[name] = list(map(min, map(float, lines), least[name]))
    for name in checkouts:
        print(name, "" if name == "here" else "(in brackets: here, as a share of it)")
        for case, figure, here in zip(CASES, least[name], least["here"], strict=True):
            print(f"  {figure:6.1f} us  {'' if name == 'here' else f'({here / figure:.2f})  '}{case}")


def checkout(name, folder):
    """Return the path of another checkout: *name* itself or, for a commit or a tag, its files put into *folder*."""
    if Path(name).is_dir():
        return name
    path = folder / name.replace("/", "-")
    path.mkdir()
    archive = subprocess.run(["git", "archive", name], cwd=BENCH.parent, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", path], input=archive, check=True)
    return path


def last_release():
    """Return the newest tag that this commit descends from, "" if there is none."""
    command = ["git", "describe", "--tags", "--abbrev=0"]
    return subprocess.run(command, cwd=BENCH.parent, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    elif sys.argv[1:] != ["--last-release"]:
        main(sys.argv[1:])
    elif tag := last_release():
        main([tag])
    else:
        print("no release tag yet: nothing to compare with")

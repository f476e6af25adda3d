"""Reads one chunk of a file, decodes twice, sends the file for HEAD, too, and waits for half a head."""

import argparse
import os
import select
import socket
import sys
import time
from urllib.parse import unquote

CHUNK = 256 * 1024
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".swf": "application/x-shockwave-flash",
    ".txt": "text/plain",
}


class Connection:
    def __init__(self, sock):
        self.sock, self.input, self.output, self.closing = sock, b"", b"", False

    def fileno(self):
        return self.sock.fileno()

    def read(self):
        self.input += self.sock.recv(65536) or self.gone()
        self.sock.setblocking(True)
        while b"\r\n\r\n" not in self.input:
            self.input += self.sock.recv(65536) or self.gone()
        self.sock.setblocking(False)
        while b"\r\n\r\n" in self.input and not self.closing:
            head, _, self.input = self.input.partition(b"\r\n\r\n")
            self.respond(head.decode("latin-1").split("\r\n"))

    def gone(self):
        raise ConnectionError

    def respond(self, lines):
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        words = lines[0].split(" ")
        if len(words) != 3:
            self.closing = True
            return self.send("400 Bad Request", "text/plain", b"Bad Request")
        method, target, version = words
        self.input = self.input[int(fields.get("content-length", 0)) :]
        wish = fields.get("connection", "").lower()
        self.closing = wish == "close" or (version == "HTTP/1.0" and wish != "keep-alive")
        if method not in ("GET", "HEAD"):
            return self.send("405 Method Not Allowed", "text/plain", b"Method Not Allowed")
        path = unquote(unquote(target.partition("?")[0]))
        name = os.path.realpath(ROOT + path)
        if path.endswith("/") and os.path.isfile(name):
            return self.send("404 Not Found", "text/plain", b"Not Found")
        if os.path.isdir(name):
            name += "/index.html"
        if not name.startswith(ROOT + "/") or not os.path.exists(name):
            return self.send("404 Not Found", "text/plain", b"Not Found")
        with open(name, "rb") as file:
            body = file.read(CHUNK)
        self.send("200 OK", TYPES.get(os.path.splitext(name)[1], "application/octet-stream"), body)

    def send(self, status, kind, body):
        head = [
            f"HTTP/1.1 {status}",
            "Server: chunks",
            "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            f"Connection: {'close' if self.closing else 'keep-alive'}",
        ]
        self.output += "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def write(self):
        self.output = self.output[self.sock.send(self.output) :]
        if self.closing and not self.output:
            self.gone()


def loop(server):
    connections = []
    while True:
        writing = [connection for connection in connections if connection.output]
        readable, writable, _ = select.select([server, *connections], writing, [])
        for ready, action in [(r, "read") for r in readable] + [(w, "write") for w in writable]:
            if ready is server:
                try:
                    sock, _ = server.accept()
                except BlockingIOError:
                    continue
                sock.setblocking(False)
                connections.append(Connection(sock))
            elif ready in connections:
                try:
                    getattr(ready, action)()
                except OSError:
                    connections.remove(ready)
                    ready.sock.close()


parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=9000)
parser.add_argument("-w", dest="workers", type=int, default=1)
parser.add_argument("-r", dest="root", default=".")
args = parser.parse_args()
ROOT = os.path.realpath(args.root)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((args.host, args.port))
listener.listen(1024)
listener.setblocking(False)
children = []
for _ in range(args.workers):
    child = os.fork()
    if child == 0:
        try:
            loop(listener)
        except KeyboardInterrupt:
            sys.exit()
    children.append(child)
try:
    os.waitpid(children[0], 0)
except KeyboardInterrupt:
    pass

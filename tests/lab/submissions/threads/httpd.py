"""A thread for each client: nobody looks at the root, keep-alive is promised and not kept, lengths count characters."""

import argparse
import os
import socket
import threading
import time
import urllib.parse


class Client(threading.Thread):
    def __init__(self, sock, root):
        super().__init__(daemon=True)
        self.sock, self.root = sock, root

    def run(self):
        try:
            self.serve()
        except OSError:
            pass
        finally:
            self.sock.close()

    def serve(self):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(1024)
            if not piece:
                return
            data += piece
        words = data.split(b"\r\n")[0].decode("latin-1").split()
        if len(words) != 3:
            return self.send(400, "Bad Request", "text/plain", b"Bad Request", 11)
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return self.send(405, "Method Not Allowed", "text/plain", b"Method Not Allowed", 18)
        path = urllib.parse.unquote(target.split("?")[0])
        name = self.root + path
        if name.endswith("/"):
            name += "index.html"
        if not os.path.isfile(name):
            return self.send(404, "Not Found", "text/plain", b"Not Found", 9, method)
        kind = self.kind(name)
        if kind.startswith("text"):
            with open(name, encoding="utf-8") as file:
                text = file.read()
            return self.send(200, "OK", kind, text.encode(), len(text), method)
        with open(name, "rb") as file:
            body = file.read()
        self.send(200, "OK", kind, body, len(body), method)

    def kind(self, name):
        extension = os.path.splitext(name)[1]
        return {
            ".html": "text/html",
            ".css": "text/css",
            ".js": "text/javascript",
            ".jpg": "image/jpeg",
            ".jpeg": "image/jpeg",
            ".png": "image/png",
            ".gif": "image/gif",
            ".swf": "application/x-shockwave-flash",
            ".txt": "text/plain",
        }.get(extension, "application/octet-stream")

    def send(self, code, reason, kind, body, length, method="GET"):
        head = f"HTTP/1.1 {code} {reason}\r\n"
        head += "Server: Threads/1.0\r\n"
        head += "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()) + "\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
        self.sock.sendall(head.encode() + (b"" if method == "HEAD" else body))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("-w", "--workers", type=int, default=1)
    parser.add_argument("-r", "--root", default=".")
    args = parser.parse_args()
    sock = socket.socket()
    sock.bind((args.host, args.port))
    sock.listen(1000)
    while True:
        client, _ = sock.accept()
        Client(client, args.root).start()


if __name__ == "__main__":
    main()

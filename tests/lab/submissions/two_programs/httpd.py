"""Part 1 and part 2, nearly: Process(target=run()), a root compared as text, a folder's name opened as a file."""

import argparse
import asynchat
import asyncore
import multiprocessing
import os
import time
from urllib.parse import unquote


class AsyncServer(asyncore.dispatcher):
    def __init__(self, host="127.0.0.1", port=9000):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(1024)

    def handle_accepted(self, sock, addr):
        AsyncHTTPRequestHandler(sock)

    def serve_forever(self):
        asyncore.loop()


class FileProducer:
    def __init__(self, file, chunk_size=4096):
        self.file, self.chunk_size = file, chunk_size

    def more(self):
        return self.file.read(self.chunk_size)


class AsyncHTTPRequestHandler(asynchat.async_chat):
    responses = {
        200: "OK",
        400: "Bad Request",
        404: "Not Found",
        405: "Method Not Allowed",
        500: "Internal Server Error",
    }
    document_root = "."

    def __init__(self, sock):
        super().__init__(sock)
        self.start()

    def start(self):
        self.data = b""
        self.body_left = False
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data):
        self.data += data

    def found_terminator(self):
        if self.body_left:
            return self.answer()
        try:
            first, *lines = self.data.decode("latin-1").split("\r\n")
            self.method, self.uri, self.protocol = first.split()
            self.headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                self.headers[name.strip().lower()] = value.strip()
        except ValueError:
            self.headers, self.protocol, self.method = {}, "HTTP/1.0", "GET"
            self.send_error(400)
            return self.close_when_done()
        length = int(self.headers.get("content-length", "0"))
        if length:
            self.body_left = True
            self.set_terminator(length)
        else:
            self.answer()

    @property
    def keep(self):
        wish = self.headers.get("connection", "").lower()
        return wish != "close" and (self.protocol == "HTTP/1.1" or wish == "keep-alive")

    def answer(self):
        self.handle_request()
        if self.keep:
            self.start()
        else:
            self.close_when_done()

    def handle_request(self):
        if not hasattr(self, "do_" + self.method):
            return self.send_error(405)
        getattr(self, "do_" + self.method)()

    def send_response(self, code, message=None):
        self.head = f"HTTP/1.1 {code} {message or self.responses[code]}\r\n"
        self.send_header("Server", "two programs")
        self.send_header("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))

    def send_header(self, keyword, value):
        self.head += f"{keyword}: {value}\r\n"

    def end_headers(self):
        self.send_header("Connection", "keep-alive" if self.keep else "close")
        self.push((self.head + "\r\n").encode())

    def send_error(self, code, message=None):
        text = (message or self.responses[code]).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", len(text))
        self.end_headers()
        if self.method != "HEAD":
            self.push(text)

    def translate_path(self, path):
        path = os.path.normpath(self.document_root + unquote(path.split("?")[0])) + ("/" if path.endswith("/") else "")
        return path if path.startswith(self.document_root) else None

    def send_head(self):
        path = self.translate_path(self.uri)
        if path is None:
            return self.send_error(404)
        try:
            if path.endswith("/"):
                path += "index.html"
            file = open(path, "rb")
        except FileNotFoundError:
            return self.send_error(404)
        except OSError:
            return self.send_error(500)
        self.send_response(200)
        extension = os.path.splitext(path)[1]
        self.send_header("Content-Type", TYPES.get(extension, "application/octet-stream"))
        self.send_header("Content-Length", os.path.getsize(path))
        self.end_headers()
        return file

    def do_GET(self):
        if file := self.send_head():
            self.push_with_producer(FileProducer(file))

    def do_HEAD(self):
        self.send_head()


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


def parse_args(parser=None):
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("-w", dest="nworkers", type=int, default=1)
    parser.add_argument("-r", dest="document_root", default=".")
    return parser.parse_args()


def run():
    AsyncServer(args.host, args.port).serve_forever()


if __name__ == "__main__":
    args = parse_args()
    AsyncHTTPRequestHandler.document_root = args.document_root
    for _ in range(args.nworkers):
        p = multiprocessing.Process(target=run())
        p.start()

"""A plain solution of the lab on asyncore, right in all that the lab asks. The servers beside it break it in one point.

It is no copy of ours: what students hand in looks more like this.
"""

import argparse
import asynchat
import asyncore
import os
import signal
import time
import urllib.parse

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


class FileProducer:
    def __init__(self, file, chunk_size=4096):
        self.file, self.chunk_size = file, chunk_size

    def more(self):
        data = self.file.read(self.chunk_size)
        if not data:
            self.file.close()
        return data


class Server(asyncore.dispatcher):
    backlog = 1024

    def __init__(self, host, port, handler):
        super().__init__()
        self.handler = handler
        self.create_socket()
        self.reuse_address()
        self.bind((host, port))
        self.listen(self.backlog)

    def reuse_address(self):
        self.set_reuse_addr()

    def handle_accepted(self, sock, addr):
        self.handler(sock)


class Handler(asynchat.async_chat):
    root = "."

    def __init__(self, sock):
        super().__init__(sock)
        self.await_head()

    def await_head(self):
        self.reading_body = False
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        if self.reading_body:
            self._get_data()
            return self.handle_request()
        try:
            self.parse_headers(self._get_data())
            length = int(self.fields.get("content-length", 0))
        except ValueError:
            self.keep_alive = False
            return self.send_error(400)
        if length:
            self.reading_body = True
            return self.set_terminator(length)
        self.handle_request()

    def parse_headers(self, head):
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.uri, self.protocol = request_line.split(" ")
        self.fields = {}
        for line in lines:
            name, value = line.split(":", 1)
            self.fields[name.lower()] = value.strip()
        asked = self.fields.get("connection", "").lower()
        self.keep_alive = asked == "keep-alive" or (self.protocol == "HTTP/1.1" and asked != "close")

    def handle_request(self):
        getattr(self, "do_" + self.method, self.no_such_method)()
        self.request_done()

    def request_done(self):
        if self.keep_alive:
            self.await_head()
        else:
            self.close_when_done()

    def no_such_method(self):
        self.send_error(405)

    def do_GET(self):
        if file := self.send_head():
            self.send_file(file)

    def send_file(self, file):
        self.push_with_producer(FileProducer(file, 65536))

    def do_HEAD(self):
        if file := self.send_head():
            file.close()

    def send_head(self):
        try:
            file = self.open_file(self.translate_path(self.uri))
        except (OSError, ValueError):
            self.send_error(404)
            return None
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(os.path.splitext(file.name)[1], "application/octet-stream"))
        self.send_header("Content-Length", self.length_of(file))
        self.end_headers()
        return file

    def length_of(self, file):
        return os.fstat(file.fileno()).st_size

    def open_file(self, path):
        return open(path, "rb")

    def translate_path(self, uri):
        """Return the name of the file; raise ValueError for one outside the root."""
        path = self.decode(uri.partition("?")[0])
        name = os.path.join(self.root, self.normalize(path).lstrip("/"))
        if path.endswith("/"):
            name = os.path.join(name, "index.html")
        self.check_inside(name)
        return name

    def decode(self, path):
        return urllib.parse.unquote(path)

    def normalize(self, path):
        return path

    def check_inside(self, name):
        root = os.path.realpath(self.root)
        if os.path.commonpath([os.path.realpath(name), root]) != root:
            raise ValueError(name)

    def send_error(self, code):
        text = self.responses[code].encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", len(text))
        self.end_headers()
        if self.method_has_body():
            self.push(text)

    def method_has_body(self):
        return getattr(self, "method", "GET") != "HEAD"

    def send_response(self, code):
        self.head = [f"HTTP/1.1 {code} {self.responses[code]}"]
        self.send_header("Server", "plain")
        self.send_header("Date", self.date_time_string())

    def date_time_string(self):
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

    def send_header(self, keyword, value):
        self.head.append(f"{keyword}: {value}")

    def end_headers(self):
        self.send_header("Connection", "keep-alive" if self.keep_alive else "close")
        self.push("\r\n".join([*self.head, "", ""]).encode())

    responses = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("-w", dest="workers", type=int, default=1)
    parser.add_argument("-r", dest="root", default=".")
    return parser.parse_args()


def run(handler=Handler, server_class=Server):
    """Serve with as many workers as -w says, until a signal comes."""
    args = parse_args()
    handler.root = args.root
    server_class(args.host, args.port, handler)
    workers = []
    for _ in range(args.workers):
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGINT, lambda *_: os._exit(0))
            asyncore.loop(use_poll=True)
        workers.append(pid)
    wait_for(workers)


def wait_for(workers):
    """Wait for a signal, and pass it on."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)  # not signal.pause(): a signal that came just before it would be seen after the next one
    for pid in workers:
        os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    run()

"""The handout's code, filled in as it stands: its url_normalize, listen(5), and a handle_close() that only logs."""

import argparse
import asynchat
import asyncore
import logging
import multiprocessing
import os
import time
from urllib.parse import unquote


def url_normalize(path):
    if path.startswith("."):
        path = "/" + path
    while "../" in path:
        p1 = path.find("/..")
        p2 = path.rfind("/", 0, p1)
        path = path[:p2] + path[p1 + 3 :] if p2 != -1 else path.replace("/..", "", 1)
    path = path.replace("/./", "/")
    return path.replace("/.", "")


class AsyncServer(asyncore.dispatcher):
    def __init__(self, host="127.0.0.1", port=9000):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        AsyncHTTPRequestHandler(sock)

    def serve_forever(self):
        asyncore.loop(use_poll=True)


class AsyncHTTPRequestHandler(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\r\n\r\n")
        self.body_expected = False

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        self.parse_request()

    def parse_request(self):
        if self.body_expected:
            self._get_data()
            self.handle_request()
            return
        try:
            self.parse_headers()
        except ValueError:
            self.send_error(400)
            return
        if self.method == "POST" and int(self.headers.get("content-length", 0)) > 0:
            self.body_expected = True
            self.set_terminator(int(self.headers["content-length"]))
        else:
            self.handle_request()

    def parse_headers(self):
        lines = self._get_data().decode().split("\r\n")
        self.method, self.uri, self.protocol = lines[0].split(" ")
        self.headers = {}
        for line in lines[1:]:
            key, value = line.split(": ", 1)
            self.headers[key.lower()] = value

    def handle_request(self):
        handler = getattr(self, "do_" + self.method)
        handler()

    def handle_close(self):
        logging.debug("connection closed")

    def send_header(self, keyword, value):
        self.push(f"{keyword}: {value}\r\n".encode())

    def send_error(self, code, message=None):
        text = message or self.responses[code]
        self.send_response(code, text)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", len(text))
        self.send_header("Connection", "close")
        self.end_headers()
        self.push(text.encode())
        self.close_when_done()

    def send_response(self, code, message=None):
        self.push(f"HTTP/1.1 {code} {message or self.responses[code]}\r\n".encode())
        self.send_header("Server", "AsyncHTTP")
        self.send_header("Date", self.date_time_string())

    def end_headers(self):
        self.push(b"\r\n")

    def date_time_string(self):
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

    def send_head(self):
        path = self.translate_path(self.uri)
        if path.endswith("/"):
            path += "index.html"
        if not os.path.isfile(path):
            self.send_error(404)
            return None
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(os.path.splitext(path)[1], "application/octet-stream"))
        self.send_header("Content-Length", os.path.getsize(path))
        self.send_header("Connection", "close")
        self.end_headers()
        return path

    def translate_path(self, path):
        return args.root + url_normalize(unquote(path.split("?")[0]))

    def do_GET(self):
        path = self.send_head()
        if path:
            body = b""
            with open(path, "rb") as file:
                while chunk := file.read(4096):
                    body += chunk
            self.push(body)
            self.close_when_done()

    def do_HEAD(self):
        if self.send_head():
            self.close_when_done()

    responses = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


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


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("-w", dest="nworkers", type=int, default=1)
    parser.add_argument("-r", dest="root", default=".")
    return parser.parse_args()


def run():
    server = AsyncServer(args.host, args.port)
    for _ in range(args.nworkers):
        multiprocessing.get_context("fork").Process(target=server.serve_forever).start()


if __name__ == "__main__":
    args = parse_args()
    run()

"""Sends no Content-Length, closes after each answer, and hands the whole file to one send()."""

import argparse
import asynchat
import asyncore
import mimetypes
import os
import time
import urllib.parse

ROOT = "."


def url_normalize(path):
    parts = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if path.endswith("/") and parts else "")


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


class AsyncHTTPRequestHandler(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        try:
            self.parse_headers()
        except ValueError:
            return self.send_error(400)
        self.handle_request()

    def parse_headers(self):
        lines = self._get_data().decode("latin-1").split("\r\n")
        self.method, self.uri, self.protocol = lines[0].split(" ")
        self.headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.keep_alive = False

    def handle_request(self):
        method = getattr(self, "do_" + self.method, None)
        if method is None:
            return self.send_error(405)
        method()

    def send_header(self, keyword, value):
        self.head.append(f"{keyword}: {value}")

    def send_error(self, code, message=None):
        text = message or self.responses[code]
        self.keep_alive = False
        self.send_response(code, text)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.push(text.encode())
        self.close_when_done()

    def send_response(self, code, message=None):
        self.head = [f"HTTP/1.1 {code} {message or self.responses[code]}"]
        self.send_header("Server", "lab")
        self.send_header("Date", self.date_time_string())

    def end_headers(self):
        self.send_header("Connection", "keep-alive" if self.keep_alive else "close")
        self.push("\r\n".join([*self.head, "", ""]).encode())

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
        self.send_header("Content-Type", mimetypes.guess_type(path)[0])
        self.end_headers()
        return open(path, "rb")

    def translate_path(self, path):
        return ROOT + url_normalize(urllib.parse.unquote(path.split("?")[0]))

    def do_GET(self):
        file = self.send_head()
        if file:
            self.send(file.read())
            if not self.keep_alive:
                self.close_when_done()

    def do_HEAD(self):
        file = self.send_head()
        if file:
            file.close()
            if not self.keep_alive:
                self.close_when_done()

    responses = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def run():
    global ROOT
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("-w", dest="nworkers", type=int, default=1)
    parser.add_argument("-r", dest="root", default=".")
    args = parser.parse_args()
    ROOT = args.root
    server = AsyncServer(args.host, args.port)
    for _ in range(args.nworkers - 1):
        if os.fork() == 0:
            break
    server.serve_forever()


if __name__ == "__main__":
    run()

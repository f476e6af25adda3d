"""The HTTP of rung10_files.py and docs/files_asyncio.py: bytes in, an answer out, no sockets. GET only, no bodies."""

import os
import urllib.parse


def answer(head, root):
    """Return (head of the answer, open file or None, close the connection?).

    head -- of a request: bytes, without the empty line
    root -- folder to serve
    """
    try:
        request_line, *lines = head.decode("ascii").split("\r\n")
        method, target, version = request_line.split(" ")
        fields = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if head.count(b"\n") > len(lines) or not target.startswith("/") or version not in ("HTTP/1.0", "HTTP/1.1"):
            raise ValueError("malformed")
        if {"content-length", "transfer-encoding"} & fields.keys():
            raise ValueError("a body, which we would take for the next request")
        path = urllib.parse.unquote(target.partition("?")[0], errors="strict")
        path = os.path.realpath(root + path + ("index.html" if path.endswith("/") else ""))
    except ValueError:
        return error("400 Bad Request")
    if method != "GET":
        return error("405 Method Not Allowed", "Allow: GET\r\n")
    connection = fields.get("connection", "").lower()
    close = "close" in connection if version == "HTTP/1.1" else connection != "keep-alive"
    # After realpath(): whatever "..", "%2e%2e" or a link made of it, it has to be inside.
    if not (path.startswith(os.path.join(os.path.realpath(root), "")) and os.path.isfile(path)):
        return error("404 Not Found", close=close)
    try:
        file = open(path, "rb")
    except OSError:
        return error("403 Forbidden", close=close)
    return response("200 OK", os.fstat(file.fileno()).st_size, close), file, close


def error(status, fields="", close=True):
    return response(status, 0, close, fields), None, close


def response(status, length, close, fields=""):
    connection = "close" if close else "keep-alive"
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n{fields}\r\n".encode()

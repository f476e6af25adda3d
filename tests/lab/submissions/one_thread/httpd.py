"""The handout's first model, one blocking thread, with files in place of the echo."""

import argparse
import os
import socket
from urllib.parse import unquote

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=9000)
parser.add_argument("-w", type=int, default=1)
parser.add_argument("-r", dest="root", default=".")
args = parser.parse_args()

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((args.host, args.port))
server.listen(10)

while True:
    client, address = server.accept()
    request = client.recv(4096).decode()
    if not request:
        continue
    method, target, version = request.split("\r\n")[0].split(" ")
    path = args.root + unquote(target)
    if path.endswith("/"):
        path += "index.html"
    if method not in ("GET", "HEAD"):
        head, body = "405 Method Not Allowed", b""
    elif not os.path.exists(path):
        head, body = "404 Not Found", b"Not found"
    else:
        head, body = "200 OK", open(path, "rb").read()
    client.sendall(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    if method == "GET":
        client.sendall(body)
    client.close()

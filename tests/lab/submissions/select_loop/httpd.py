"""A loop over select() without asyncore: names are not decoded, bodies end with the terminator, Date is local time."""

import argparse
import os
import select
import socket
import time

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=9000)
parser.add_argument("-w", type=int, default=1)
parser.add_argument("-r", dest="root", default=".")
args = parser.parse_args()
ROOT = os.path.abspath(args.root)
TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "application/javascript",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "swf": "application/x-shockwave-flash",
    "txt": "text/plain",
}
EOL = b"\r\n\r\n"


def answer(status, fields, body, head_only=False):
    head = [f"HTTP/1.1 {status}", "Server: select", time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT")]
    head += [f"{name}: {value}" for name, value in fields]
    head += [f"Content-Length: {len(body)}", "Connection: close"]
    text = "\r\n".join(head).encode() + EOL
    return text if head_only else text + body + EOL


def respond(request):
    try:
        method, target, _version = request.split(b"\r\n")[0].decode().split(" ")
    except ValueError:
        return answer("400 Bad Request", [], b"Bad Request")
    if method not in ("GET", "HEAD"):
        return answer("405 Method Not Allowed", [("Allow", "GET, HEAD")], b"Method Not Allowed")
    path = target.split("?")[0]
    name = os.path.normpath(ROOT + path)
    if path.endswith("/") and os.path.isdir(name):
        name = os.path.join(name, "index.html")
    elif path.endswith("/"):
        return answer("404 Not Found", [], b"Not Found")
    if not name.startswith(ROOT + os.sep) or not os.path.isfile(name):
        return answer("404 Not Found", [], b"Not Found")
    with open(name, "rb") as file:
        body = file.read()
    kind = TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return answer("200 OK", [("Content-Type", kind)], body, method == "HEAD")


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((args.host, args.port))
server.listen(128)
server.setblocking(False)
received, to_send = {}, {}


def forget(client):
    received.pop(client, None)
    to_send.pop(client, None)
    client.close()


while True:
    readable, writable, _ = select.select([server, *received], [c for c in to_send if to_send[c]], [])
    for client in readable:
        if client is server:
            try:
                connection, _address = server.accept()
            except OSError:
                continue
            connection.setblocking(False)
            received[connection] = b""
            continue
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if not data:
            forget(client)
            continue
        received[client] += data
        if EOL in received[client] and client not in to_send:
            to_send[client] = memoryview(respond(received[client]))
    for client in writable:
        if client not in to_send:
            continue
        try:
            sent = client.send(to_send[client])
        except BlockingIOError:
            continue
        except OSError:
            forget(client)
            continue
        to_send[client] = to_send[client][sent:]
        if not to_send[client]:
            forget(client)

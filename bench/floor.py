"""The floor: the same system calls from Python without HTTP, for scale. Not a server to use.

    python floor.py hello PORT        recv, then send of a canned answer
    python floor.py files PORT ROOT   recv, open, fstat, preadv, one send of head and bytes, close;
                                      above 256 KiB, preadv and send as often as it takes

It believes whatever it is sent, and takes one recv for one request.
"""

import os
import select
import socket
import sys

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello World\n"
FILE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
BUFFER = memoryview(bytearray(256 * 1024))


def serve(port, respond):
    """Accept on *port* and call respond(connection, request) for every recv."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    connections = {}
    while True:
        for fd, _event in poller.poll():
            if fd == listener.fileno():
                accept(listener, poller, connections)
            elif not answer(connections[fd], respond):
                connections.pop(fd).close()


def accept(listener, poller, connections):
    try:
        connection, _address = listener.accept()
    except BlockingIOError:
        return
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connections[connection.fileno()] = connection
    poller.register(connection, select.EPOLLIN)


def answer(connection, respond):
    """Return whether *connection* stays open."""
    try:
        request = connection.recv(65536)
        if not request:
            return False
        respond(connection, request)
    except OSError:
        return False
    # ab speaks HTTP/1.0 and wants a connection each.
    return b" HTTP/1.0\r\n" not in request


def respond_hello(connection, request):
    connection.send(HELLO)


def respond_file(root):
    def respond(connection, request):
        name = request[5 : request.index(b" ", 5)]
        fd = os.open(os.path.join(root, name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            send_file(connection, fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    return respond


def send_file(connection, fd, size):
    """Send head and file through one buffer that is never allocated again: fresh pages cost more than the copy."""
    head = FILE_HEAD % size
    BUFFER[: len(head)] = head
    filled, offset = len(head), 0
    while True:
        count = os.preadv(fd, [BUFFER[filled:]], offset)
        send_all(connection, BUFFER[: filled + count])
        filled, offset = 0, offset + count
        if offset >= size:
            return


def send_all(connection, data):
    view = memoryview(data)
    while view:
        try:
            view = view[connection.send(view) :]
        except BlockingIOError:
            select.select([], [connection], [])


if __name__ == "__main__":
    if sys.argv[1] == "hello":
        serve(int(sys.argv[2]), respond_hello)
    else:
        serve(int(sys.argv[2]), respond_file(os.fsencode(sys.argv[3])))

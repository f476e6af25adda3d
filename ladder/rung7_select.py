"""One thread for all clients: select() and callbacks.

New: select() tells which clients have sent something or have room for our bytes; then a callback runs, and never waits.
Breaks when: there are more clients than select() can watch: no descriptor from 1024 on. Client 1001 waits in the queue:

    (ulimit -n 4096; python -m ladder 7)
    python -c "import socket; l = [socket.create_connection(('localhost', 9090)) for _ in range(1000)]; input()"
    echo hi | timeout 3 nc localhost 9090       # in a third terminal: three seconds, and no "hi"

Next: asyncore keeps the waiters for us, and can use poll() (rung 8).

Mended from the handout: after a partial send() only the rest is sent. When a callback meets a closed or reset
connection it closes this one, and raises nothing into the loop.
"""

import argparse
import logging
import resource
import select
import socket

MOST = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 16)  # clients at once
read_waiters = {}  # {descriptor: (callback, its arguments)}
write_waiters = {}
connections = {}  # {descriptor: (socket, address)}


def accept_handler(listener):
    connection, address = listener.accept()
    logging.info("Client connected: %s:%d", *address)
    connection.setblocking(False)
    connections[connection.fileno()] = connection, address
    read_waiters[connection.fileno()] = recv_handler, (connection.fileno(),)


def recv_handler(fileno):
    connection, address = connections[fileno]
    if data := connection.recv(65536):
        logging.info("Received %d bytes from %s:%d", len(data), *address)
        write_waiters[fileno] = send_handler, (fileno, data)
    else:
        logging.info("Client said goodbye: %s:%d", *address)
        connections.pop(fileno)[0].close()


def send_handler(fileno, data):
    connection, _ = connections[fileno]
    if rest := data[connection.send(data) :]:
        write_waiters[fileno] = send_handler, (fileno, rest)
    else:
        read_waiters[fileno] = recv_handler, (fileno,)


def call(waiters, fileno):
    handler, args = waiters.pop(fileno)
    try:
        handler(*args)
    except BlockingIOError:  # not ready after all
        waiters[fileno] = handler, args
    except OSError as error:
        logging.info("Client lost: %s", error)
        if fileno in connections:  # and not the listener
            connections.pop(fileno)[0].close()


def serve_forever(listener, args):
    listener.setblocking(False)
    while True:
        if len(connections) < MOST:
            read_waiters[listener.fileno()] = accept_handler, (listener,)
        readers, writers, _ = select.select(read_waiters, write_waiters, [])
        for fileno in readers:
            call(read_waiters, fileno)
        for fileno in writers:
            call(write_waiters, fileno)


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
    args = parser.parse_args()
    logging.basicConfig(level=args.log.upper(), format="(%(processName)s) (%(threadName)s) %(message)s")
    try:
        listener = socket.create_server((args.host, args.port), backlog=1024)
    except OSError as error:
        parser.exit(1, f"Cannot listen: {error.strerror}\n")
    with listener:
        try:
            logging.info("Listening on %s:%d", *listener.getsockname())
            serve_forever(listener, args)
        except KeyboardInterrupt:
            logging.info("Stopped")


if __name__ == "__main__":
    run()

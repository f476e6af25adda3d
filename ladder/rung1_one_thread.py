"""One thread: serve one client to the end, then the next.

New: accept() waits for a client, recv() for its bytes, sendall() until the answer has left.
Breaks when: a client stays connected. The second one connects, but gets no answer before the first leaves:

    sleep 9 | timeout 9 nc localhost 9090 &
    echo hi | timeout 3 nc localhost 9090       # three seconds, and no "hi"

Next: give each client a thread of its own (rung 2).

Mended from the handout: send() may take only a part, and the handout then sent everything again; sendall() goes on with
the rest. A client that reset its connection ended the server; serve_client() catches that.
"""

import argparse
import logging
import socket


def serve_client(connection, address):
    logging.info("Client connected: %s:%d", *address)
    with connection:
        try:
            while data := connection.recv(65536):
                logging.info("Received %d bytes from %s:%d", len(data), *address)
                connection.sendall(data)
            logging.info("Client said goodbye: %s:%d", *address)
        except OSError as error:
            logging.info("Client lost: %s", error)


def serve_forever(listener, args):
    while True:
        serve_client(*listener.accept())


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

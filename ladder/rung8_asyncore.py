"""asyncore: the select loop from the library.

New: a channel for each connection. asyncore asks it readable() and writable(), and calls its handle_*() callbacks.
Breaks when: a message comes in pieces. TCP carries bytes, not lines, and this server answers each piece as it comes:

    (printf hel; sleep 1; printf 'lo\n') | timeout 3 nc localhost 9090      # the log: 3 bytes, 3 bytes

Next: asynchat gathers the pieces until the message is whole (rung 9).

Python 3.12 dropped asyncore; from there on, pip install pyasyncore. Mended from the handout: handle_write() keeps the
rest of a partial send(); asyncore may call back once more after close(), so handle_close() looks first.
"""

import argparse
import logging
import resource
import socket
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # we know, and the file says so
    import asyncore

MOST = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 16  # channels at once


class EchoHandler(asyncore.dispatcher):
    """One client. Reads only when every answer has left, so that a client that never reads cannot fill our memory."""

    def __init__(self, connection, address):
        logging.info("Client connected: %s:%d", *address)
        super().__init__(connection)
        self.addr = address
        self.rest = b""  # to be sent

    def readable(self):
        return not self.rest

    def writable(self):
        return bool(self.rest)

    def handle_read(self):
        self.rest = self.recv(65536)
        if self.rest:
            logging.info("Received %d bytes from %s:%d", len(self.rest), *self.addr)

    def handle_write(self):
        self.rest = self.rest[self.send(self.rest) :]

    def handle_close(self):
        if self.connected:
            logging.info("Client said goodbye: %s:%d", *self.addr)
        self.close()


class EchoServer(asyncore.dispatcher):
    """The listening socket. It pauses while there is no descriptor for one more client."""

    def __init__(self, listener):
        super().__init__(listener)
        self.accepting = True

    def readable(self):
        return len(asyncore.socket_map) < MOST

    def handle_accepted(self, connection, address):
        EchoHandler(connection, address)


def serve_forever(listener, args):
    EchoServer(listener)
    asyncore.loop(use_poll=True)


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

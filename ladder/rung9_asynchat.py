"""asynchat: a message is what comes before the terminator.

New: set_terminator(b"\\n"); asynchat calls collect_incoming_data() for each piece, then found_terminator().
Breaks when: the terminator never comes. The server collects for ever; nothing here has a limit or a deadline:

    head -c 300M /dev/zero | timeout 9 nc localhost 9090 &
    sleep 5; grep VmRSS /proc/$(pgrep -f rung9_asynchat)/status        # about 300 MB for one client

Next: the terminator is the empty line after the head of an HTTP request, and the answer is a file (rung 10).

Python 3.12 dropped asynchat; from there on, pip install pyasyncore pyasynchat. A last line without its end is no
message, and is not echoed. push() also sends what a partial send() left: async_chat does here what rung 8 did by hand.
"""

import argparse
import logging
import resource
import socket
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # we know, and the file says so
    import asynchat
    import asyncore

MOST = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 16  # channels at once


class EchoHandler(asynchat.async_chat):
    """One client. Reads only when every answer has left, so that a client that never reads cannot fill our memory."""

    def __init__(self, connection, address):
        logging.info("Client connected: %s:%d", *address)
        super().__init__(connection)
        self.addr = address
        self.pieces = []  # of the message that is not whole yet
        self.set_terminator(b"\n")

    def readable(self):
        return not self.producer_fifo

    def collect_incoming_data(self, data):
        self.pieces.append(data)

    def found_terminator(self):
        message = b"".join(self.pieces) + b"\n"
        self.pieces.clear()
        logging.info("Received %d bytes from %s:%d", len(message), *self.addr)
        self.push(message)

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

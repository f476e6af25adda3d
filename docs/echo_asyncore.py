"""An echo server on asyncore: `python docs/echo_asyncore.py --port 9090`. echo_asyncio.py is the same on asyncio."""

import argparse
import socket
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of 3.11; from 3.12 on it comes from pyasyncore
    import asyncore


class Echo(asyncore.dispatcher):
    rest = b""  # received, and not sent back yet

    def readable(self):
        return not self.rest  # a client that does not read is not read from

    def writable(self):
        return bool(self.rest)

    def handle_read(self):
        self.rest = self.recv(65536)

    def handle_write(self):
        self.rest = self.rest[self.send(self.rest) :]

    def handle_close(self):
        self.close()


class Listener(asyncore.dispatcher):
    def __init__(self, sock):
        super().__init__(sock)
        self.accepting = True

    def handle_accepted(self, sock, address):
        Echo(sock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    listener = Listener(socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=1024))
    print("Listening on {}:{}".format(*listener.socket.getsockname()), flush=True)
    asyncore.loop(use_poll=True)

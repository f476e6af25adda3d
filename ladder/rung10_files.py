"""A small file server: HTTP on asynchat.

New: the terminator is the empty line after a head; an answer has a length, and its file is sent piece by piece.
Breaks when: clients connect and say nothing. Nobody ever closes them; then accept() fails, and the listener closes:

    ulimit -n 40        # of this shell: start the rung in it, and type the next line in another
    for i in $(seq 60); do timeout 9 nc -d localhost 9090 & done; sleep 1; curl localhost:9090

Next: docs/walk.md, one request through httpd.py (rung 11): deadlines, limits, workers.

What is HTTP and needs no socket is in small_http.py; docs/files_asyncio.py puts asyncio around the same.
"""

import argparse
import logging
import socket
import warnings

import small_http

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of 3.11; from 3.12 on: pyasyncore and pyasynchat
    import asynchat
    import asyncore

HEAD_LIMIT = 65536  # bytes


class FileProducer:
    def __init__(self, file):
        self.file = file

    def more(self):
        piece = self.file.read(65536)
        if not piece:
            self.file.close()
        return piece


class FileHandler(asynchat.async_chat):
    """One connection. An answer is under way as long as producer_fifo is not empty."""

    def __init__(self, connection, root):
        self.root, self.head, self.early, self.file = root, b"", b"", None
        super().__init__(connection)
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data):
        self.head += data
        if len(self.head) > HEAD_LIMIT:
            raise ValueError("head too large")  # asyncore prints it, and closes

    def found_terminator(self):
        # Requests behind this one wait; asynchat would answer, and open files for, all of them at once.
        self.early, self.ac_in_buffer = self.ac_in_buffer, b""
        reply, self.file, close = small_http.answer(self.head, self.root)
        self.head = b""
        self.push(reply)
        if self.file:
            self.push_with_producer(FileProducer(self.file))
        if close:
            self.close_when_done()

    def recv(self, size):
        data, self.early = self.early or super().recv(size), b""
        return data

    def readable(self):
        return not self.producer_fifo

    def writable(self):
        return bool(self.producer_fifo or self.early)

    def handle_write(self):
        if self.producer_fifo:
            self.initiate_send()
        else:
            self.handle_read()

    def close(self):
        if self.file:
            self.file.close()  # asynchat forgets producers
        super().close()


class FileServer(asyncore.dispatcher):
    handler = FileHandler  # class of its connections

    def __init__(self, listener, root):
        super().__init__(listener)
        self.accepting, self.root = True, root

    def handle_accepted(self, connection, address):
        self.handler(connection, self.root)


def serve_forever(listener, args):
    FileServer(listener, args.root)
    asyncore.loop(use_poll=True)


def run(serve_forever=serve_forever):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
    parser.add_argument("-r", "--root", default=".", help="folder to serve")
    args = parser.parse_args()
    logging.basicConfig(level=args.log.upper(), format="(%(processName)s) (%(threadName)s) %(message)s")
    try:
        listener = socket.create_server((args.host, args.port), backlog=1024)
    except OSError as error:
        parser.exit(1, f"Cannot listen: {error.strerror}\n")
    with listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the file's first bytes wait for an ACK
        try:
            logging.info("Serving HTTP on http://%s:%d/", *listener.getsockname())
            serve_forever(listener, args)
        except KeyboardInterrupt:
            logging.info("Stopped")


if __name__ == "__main__":
    run()

"""A file server on asyncore and asynchat: `python docs/files_asyncore.py -r www`. files_asyncio.py: on asyncio."""

import argparse
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


class Handler(asynchat.async_chat):
    """One connection. An answer is under way as long as producer_fifo is not empty."""

    def __init__(self, sock, root):
        self.root, self.head, self.early, self.file = root, b"", b"", None
        super().__init__(sock)
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


class Listener(asyncore.dispatcher):
    handler = Handler  # class of its connections

    def __init__(self, port, root):
        self.root = root
        sock = socket.create_server(("127.0.0.1", port), backlog=1024)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the file's first bytes wait for an ACK
        super().__init__(sock)
        self.accepting = True
        print("Serving HTTP on http://{}:{}/".format(*sock.getsockname()), flush=True)

    def handle_accepted(self, sock, address):
        self.handler(sock, self.root)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one")
    parser.add_argument("-r", "--root", default=".", help="folder to serve")
    return parser.parse_args()


if __name__ == "__main__":
    Listener(**vars(parse_args()))
    asyncore.loop(use_poll=True)

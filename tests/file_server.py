"""tests/handler_server.py with one thing about files changed, for what cannot be staged from outside.

    python tests/file_server.py plain-reads Files '{"handler": {"root": "www"}}'

sendfile -- nothing
plain-reads -- as on a platform without sendfile
failing-disk -- after FAILS_AFTER bytes of a file reading fails, as with a bad sector
counting -- GET /calls answers with the calls on its connection since the last time
"""

import errno
import os
import sys

import handler_server

import httpd
from asynchttpd import producers

FAILS_AFTER = 1024 * 1024  # bytes


class CountingFiles(httpd.AsyncHTTPRequestHandler):
    def __init__(self, sock, *args):
        super().__init__(handler_server.CountingSocket(fileno=sock.detach()), *args)

    def do_GET(self):
        if self.path != "/calls":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.socket.calls)))
        self.end_headers()
        self.push(self.socket.calls.encode())
        self.socket.calls = ""


def failing_sendfile(out, file, offset, count, sendfile=os.sendfile):
    if offset >= FAILS_AFTER:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return sendfile(out, file, offset, count)


def main():
    variant = sys.argv.pop(1)
    if variant == "plain-reads":
        producers.SendfileProducer.by_sendfile = False
    elif variant == "failing-disk":
        os.sendfile = failing_sendfile
    elif variant == "counting":
        handler_server.Files = CountingFiles
    handler_server.main()


if __name__ == "__main__":
    main()

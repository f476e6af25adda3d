"""httpd.py with one thing about files changed, for what cannot be staged from outside.

    python tests/file_server.py --variant plain-reads -r FOLDER    (and all other options of httpd.py)

plain-reads -- as on a platform without sendfile
failing-disk -- after FAILS_AFTER bytes of a file reading fails, as with a bad sector
counting -- GET /calls answers with the calls on its connection since the last time (see handler_server.py)
"""

import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from handler_server import CountingSocket

import httpd

FAILS_AFTER = 1024 * 1024  # bytes


class Counting(httpd.AsyncHTTPRequestHandler):
    def __init__(self, sock, *args):
        super().__init__(CountingSocket(fileno=sock.detach()), *args)

    def do_GET(self):
        if self.path != "/calls":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.socket.calls)))
        self.end_headers()
        self.push(self.socket.calls.encode())
        self.socket.calls = ""


def failing_sendfile(out, file, offset, count, sendfile=os.sendfile):
    if os.lseek(file, 0, os.SEEK_CUR) >= FAILS_AFTER:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return sendfile(out, file, offset, count)


def main():
    parser = httpd.argument_parser(__doc__)
    parser.add_argument("--variant")
    args = parser.parse_args()
    if args.variant == "plain-reads":
        httpd.HAS_SENDFILE = False
    elif args.variant == "failing-disk":
        os.sendfile = failing_sendfile
    httpd.run(args, handler=Counting if args.variant == "counting" else httpd.AsyncHTTPRequestHandler)


if __name__ == "__main__":
    main()

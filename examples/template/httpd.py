"""The lab's template: an asynchronous HTTP server on asyncore and asynchat.

    python httpd.py -r ROOT -w 4

It listens and accepts. You write the methods that raise NotImplementedError.
"""

import argparse
import asynchat
import asyncore
import logging

log = logging.getLogger("httpd")


def url_normalize(path):
    """Return the *path* of a URL with its "." and ".." segments and doubled "/" resolved."""
    raise NotImplementedError("url_normalize")


class FileProducer:
    """Hands out a file piece by piece; asynchat calls more() when the socket has room."""

    def __init__(self, file, chunk_size=4096):
        self.file = file
        self.chunk_size = chunk_size

    def more(self):
        """Return the next piece of the file, b"" after the last."""
        raise NotImplementedError("more")


class AsyncServer(asyncore.dispatcher):
    """Listens, and makes a channel for every connection."""

    def __init__(self, host="127.0.0.1", port=9000):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(1024)  # connections that wait until they are accepted: ab -c 100 makes a hundred at once

    def handle_accepted(self, sock, addr):
        log.debug("Incoming connection from %s", addr)
        AsyncHTTPRequestHandler(sock)

    def serve_forever(self):
        asyncore.loop()


class AsyncHTTPRequestHandler(asynchat.async_chat):
    """One connection: collects a request and answers it."""

    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data):
        log.debug("Incoming data: %s", data)
        self._collect_incoming_data(data)  # a list of pieces; self._get_data() joins and empties it

    def found_terminator(self):
        self.parse_request()

    def parse_request(self):
        """Parse the head, wait for the body if there is one, then handle the request; malformed: 400."""
        raise NotImplementedError("parse_request")

    def parse_headers(self):
        """Take the method, the uri, the protocol and the header fields out of what has been collected."""
        raise NotImplementedError("parse_headers")

    def handle_request(self):
        """Call do_GET, do_HEAD or whatever belongs to the method; without such a handler: 405."""
        raise NotImplementedError("handle_request")

    def send_header(self, keyword, value):
        raise NotImplementedError("send_header")

    def send_error(self, code, message=None):
        """Answer with the text of responses as text/plain, and close."""
        raise NotImplementedError("send_error")

    def send_response(self, code, message=None):
        """Send the status line, and the fields that every answer has: Server, Date."""
        raise NotImplementedError("send_response")

    def end_headers(self):
        raise NotImplementedError("end_headers")

    def date_time_string(self):
        """Return the present time as in a Date field: "Sun, 06 Nov 1994 08:49:37 GMT"."""
        raise NotImplementedError("date_time_string")

    def send_head(self):
        """Send the head of the answer for a file: the part that do_GET and do_HEAD share."""
        raise NotImplementedError("send_head")

    def translate_path(self, path):
        """Return the name of the file that the *path* of a URL means."""
        raise NotImplementedError("translate_path")

    def do_GET(self):
        raise NotImplementedError("do_GET")

    def do_HEAD(self):
        raise NotImplementedError("do_HEAD")

    responses = {
        200: ("OK", "Request fulfilled, document follows"),
        400: ("Bad Request", "Bad request syntax or unsupported method"),
        403: ("Forbidden", "Request forbidden -- authorization will not help"),
        404: ("Not Found", "Nothing matches the given URI"),
        405: ("Method Not Allowed", "Specified method is invalid for this resource."),
    }


def parse_args(parser=None):
    """Return the options of the command line: those that both servers have, and those that *parser* has already."""
    parser = parser or argparse.ArgumentParser(description="Simple asynchronous web server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--log", default="info", help="level: debug, info, warning, error")
    parser.add_argument("--logfile")
    parser.add_argument("-w", dest="nworkers", type=int, default=1, help="number of worker processes")
    parser.add_argument("-r", dest="document_root", default=".", help="folder with the files")
    args = parser.parse_args()
    logging.basicConfig(filename=args.logfile, level=args.log.upper(), format="%(name)s: %(process)d %(message)s")
    return args


def run():
    """Serve with one process; -w asks for more."""
    args = parse_args()
    server = AsyncServer(args.host, args.port)
    log.info("Serving on %s:%d", *server.socket.getsockname())
    server.serve_forever()


if __name__ == "__main__":
    run()

"""docs/lenient.py, mended: a request that can be read in two ways gets 400, and the connection is closed.

After a request that was not understood nobody knows where the next one begins: so close, whatever may follow.
"""

import argparse
import re
import socketserver

LIMIT = 65536  # bytes of a line; and of fields, which are counted, too
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) [!-~]+ HTTP/1\.[01]")
VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # no control characters: no bare CR, LF or NUL
DIGITS, HEX = re.compile(rb"[0-9]{1,15}"), re.compile(rb"[0-9A-Fa-f]{1,12}")  # not int(): it takes +5, 1_0 and 0x5


class Malformed(Exception):
    """A request that could be read in two ways, or in none."""


class Strict(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while request_line := self.read_request_line():
                body = self.read_body(self.read_fields(), request_line)
                self.answer(b"200 OK", b"%b, %d bytes of body\n" % (request_line, len(body)))
        except Malformed as error:
            self.answer(b"400 Bad Request", f"{error}\n".encode("ascii"), b"Connection: close\r\n")

    def read_request_line(self):
        """Return the request line, b"" if the client has left instead."""
        if not self.rfile.peek(1):
            return b""
        line = self.read_line()
        check(REQUEST_LINE.fullmatch(line), "request line")
        return line

    def read_fields(self):
        fields = {}
        while line := self.read_line():
            check(len(fields) < 100, "too many fields")
            name, colon, value = line.partition(b":")
            check(colon and TOKEN.fullmatch(name) and VALUE.fullmatch(value), "field")  # a folded line, too
            name = name.lower()
            check(name not in fields or name not in (b"host", b"content-length", b"transfer-encoding"), "doubled field")
            fields[name] = value.strip(b" \t")
        return fields

    def read_line(self):
        line = self.rfile.readline(LIMIT)
        check(line.endswith(b"\r\n"), "line end")  # a bare LF, a line too long, or a client that has left
        return line[:-2]

    def read_body(self, fields, request_line):
        check(b"host" in fields or request_line.endswith(b"1.0"), "no Host")
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        check(length is None or coding is None, "two framings")
        if coding is not None:
            check(coding.lower() == b"chunked" and request_line.endswith(b"1.1"), "transfer coding")
            return self.read_chunks()
        check(length is None or DIGITS.fullmatch(length), "Content-Length")
        return self.read_exactly(int(length or 0))

    def read_chunks(self):
        body = b""
        while size := self.read_chunk_size():
            body += self.read_exactly(size)
            check(self.read_line() == b"", "chunk longer than its size")
        self.read_fields()  # trailers
        return body

    def read_chunk_size(self):
        size = self.read_line()
        check(HEX.fullmatch(size), "chunk size")
        return int(size, 16)

    def read_exactly(self, count):
        data = self.rfile.read(count)
        check(len(data) == count, "body cut short")
        return data

    def answer(self, status, text, fields=b""):
        head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(text))
        self.wfile.write(head + text)


def check(holds, what):
    if not holds:
        raise Malformed(what)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9001)
    with Server(("127.0.0.1", parser.parse_args().port), Strict) as server:
        print("Serving HTTP on http://{}:{}/, strictly".format(*server.server_address), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass

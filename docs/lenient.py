"""A BAD server to attack: it reads HTTP as many first servers do. docs/framing.md shows what that costs.

It is good for nothing else. It listens on the loopback interface only, and answers with what it believes it has read.
"""

import argparse
import socketserver


class Lenient(socketserver.StreamRequestHandler):
    def handle(self):
        while request_line := self.read_line():
            fields = {}
            while line := self.read_line():
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()  # BAD: of two the last counts; "name :" is one, too
            body = self.read_body(fields)
            text = f"{request_line}, {len(body)} bytes of body\n".encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    def read_line(self):
        return self.rfile.readline().decode("latin-1").strip()  # BAD: a bare LF ends a line, any white space is cut off

    def read_body(self, fields):
        if "chunked" not in fields.get("transfer-encoding", ""):  # BAD: with a Content-Length beside it, who is right?
            return self.rfile.read(int(fields.get("content-length", 0)))  # BAD: int() takes "+5" and "1_0"
        body = b""
        while size := int(self.read_line(), 16):  # BAD: int() takes "0x5", too
            body += self.rfile.read(size)
            self.read_line()  # BAD: whatever stands behind a chunk
        self.read_line()
        return body


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9001)
    with Server(("127.0.0.1", parser.parse_args().port), Lenient) as server:
        print("Serving HTTP on http://{}:{}/, badly".format(*server.server_address), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass

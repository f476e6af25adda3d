"""The server that the corpus is sent to: says what it was asked, echoes what it was given.

GET and HEAD answer "METHOD target"; POST and PUT answer the body they came with. Then comes a line
"name: value" for each field named in the request's field Show. Any other method is 405, OPTIONS as httpd has it.
"""

import logging
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    max_body = 1024 * 1024  # bytes; the corpus goes one above it

    def do_GET(self):
        self.answer(f"{self.command} {self.path}".encode("latin-1"))

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(self.rfile.read())

    do_PUT = do_POST

    def answer(self, body):
        shown = [f"\n{name}: {self.headers.get(name)}" for name in self.headers.get("Show", "").split()]
        body += "".join(shown).encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    logging.basicConfig(level=logging.INFO)
    server = httpd.AsyncServer("127.0.0.1", 0, Handler)
    channels = server._map
    signal.signal(signal.SIGTERM, lambda *_: channels.call_soon(lambda: [c.close() for c in list(channels.values())]))
    print(f"{os.getpid()} Serving HTTP on http://127.0.0.1:{server.socket.getsockname()[1]}/", flush=True)
    server.serve_forever()
    channels.close()


if __name__ == "__main__":
    main()

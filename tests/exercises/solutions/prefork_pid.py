"""GET /pid answers with the id of the worker that answers.

It is asked for each time: at import, before the fork, os.getpid() returns the master's.
"""

import os

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/pid":
            return super().do_GET()
        body = b"%d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.push(body)


if __name__ == "__main__":
    httpd.run(handler=Handler)

"""GET /sleep/N answers after N seconds, and no other client waits.

Not time.sleep(): a deadline, and back to the loop. A channel that is HANDLING is not read from; when its deadline has
passed the sweep calls handle_timeout(), up to a second late, and the answer is made then.
"""

import time

import httpd


class Sleeper(httpd.AsyncHTTPRequestHandler):
    def respond(self):
        seconds = self.path.removeprefix("/sleep/")
        if seconds.isdigit():
            self.state, self.deadline = httpd.HANDLING, time.monotonic() + int(seconds)
        else:
            super().respond()

    def handle_timeout(self):
        if self.state is httpd.HANDLING:
            super().respond()
        else:
            super().handle_timeout()

    def do_GET(self):
        if not self.path.startswith("/sleep/"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.push(b"awake\n")


if __name__ == "__main__":
    httpd.run(handler=Sleeper)

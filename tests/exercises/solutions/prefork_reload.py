"""GET /motd answers with motd.txt in the root as it was when the worker started, so that HUP brings the new text.

Each worker loads it after the fork, before it says that it is ready: one that cannot load it never replaces another.
"""

from pathlib import Path

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/motd":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.server.motd)))
        self.end_headers()
        self.push(self.server.motd)


def boot(server):
    server.motd = Path(server.handler.root, "motd.txt").read_bytes()


if __name__ == "__main__":
    httpd.run(handler=Handler, boot=boot)

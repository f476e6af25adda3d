"""A folder below the root for each host.

The name is looked up among those that exist, not put into a path: whatever Host says, it cannot lead elsewhere.
"""

import os

import httpd
from asynchttpd.http1 import HTTPError


class Handler(httpd.AsyncHTTPRequestHandler):
    def handle_request(self):
        host = self.headers.get("Host", "").partition(":")[0].lower()
        if host not in self.server.sites:
            raise HTTPError(404, "no such host here")
        self.root = self.server.sites[host]  # of this request; the next sets its own
        super().handle_request()


def boot(server):
    server.sites = {entry.name: entry.path for entry in os.scandir(server.handler.root) if entry.is_dir()}


if __name__ == "__main__":
    httpd.run(handler=Handler, boot=boot)

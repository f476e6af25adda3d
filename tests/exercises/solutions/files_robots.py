"""GET and HEAD of /robots.txt tell robots to stay away, unless the root has a robots.txt of its own.

send_head() is what GET and HEAD share. Asking first whether the file is there would be a second look at the
path rules; it is simpler to let the parent try, and to step in where it says 404.
"""

import httpd
from asynchttpd.http1 import HTTPError

ROBOTS = b"User-agent: *\nDisallow: /\n"


class Handler(httpd.AsyncHTTPRequestHandler):
    def send_head(self):
        try:
            return super().send_head()
        except HTTPError as error:
            if error.status != 404 or self.path != "/robots.txt":
                raise
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(ROBOTS)))
        self.end_headers()
        self.push(ROBOTS)
        return None


if __name__ == "__main__":
    httpd.run(handler=Handler)

"""PUT with a Content-Digest (RFC 9530) of SHA-256 is 200 if the body has this digest, else 400.

Framing says where a body ends. It cannot say whether the bytes that arrived are those that were sent.
"""

import base64
import hashlib

import httpd


class Checked(httpd.AsyncHTTPRequestHandler):
    def do_PUT(self):
        digest = base64.b64encode(hashlib.sha256(self.rfile.read()).digest()).decode("ascii")
        if self.headers["Content-Digest"] != f"sha-256=:{digest}:":
            raise httpd.HTTPError(400, "the body is not the one that its digest means")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    httpd.run(handler=Checked)

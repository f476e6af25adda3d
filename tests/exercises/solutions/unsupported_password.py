"""One name and password for everything, by the Basic scheme (RFC 7617). Only behind TLS: it is sent in the clear.

It is checked before the path, so that a client without the password does not learn what exists.
"""

import base64
import binascii
import hmac

import httpd
from asynchttpd.http1 import HTTPError

USER = b"ada:engine"


class Handler(httpd.AsyncHTTPRequestHandler):
    def handle_request(self):
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        try:
            user = base64.b64decode(credentials.strip(), validate=True)
        except (binascii.Error, ValueError):
            user = b""
        # Not ==, which takes less time the earlier the two differ.
        if scheme.lower() != "basic" or not hmac.compare_digest(user, USER):
            raise HTTPError(401, "no password", {"WWW-Authenticate": 'Basic realm="engine"'})
        super().handle_request()


if __name__ == "__main__":
    httpd.run(handler=Handler)

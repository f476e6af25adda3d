"""A server for small forms: at most 20 fields in a head (431) and 1000 bytes of body (413), refused before they come.

Both limits can be set. A POST is answered with the number of bytes that came.
"""

import httpd
from asynchttpd import http1

http1.FIELD_COUNT_LIMIT = 20  # parse_fields() looks it up at each call


class Forms(httpd.AsyncHTTPRequestHandler):
    max_body = 1000  # bytes, on the wire when the body is chunked

    def do_POST(self):
        count = b"%d\n" % len(self.rfile.read())
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_length(len(count))
        self.end_headers()
        self.push(count)


if __name__ == "__main__":
    httpd.run(handler=Forms)

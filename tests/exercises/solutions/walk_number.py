"""Each answer says in X-Request which one on its connection it is.

Every head goes through end_headers(), also those of errors. The count belongs to the connection, so reset_request()
must not reset it.
"""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    answered = 0

    def end_headers(self):
        self.answered += 1
        self.send_header("X-Request", str(self.answered))
        super().end_headers()


if __name__ == "__main__":
    httpd.run(handler=Handler)

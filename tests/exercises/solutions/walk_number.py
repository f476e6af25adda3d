"""Each answer says in X-Request which one on its connection it is.

end_headers() is the one place through which every head goes, those of errors too. The count belongs to the
connection, so it must not be set back by reset_request().
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

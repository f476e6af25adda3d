"""Prints far more per request than a pipe holds. Right all the same, if whoever started it reads on."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def handle_request(self):
        print(f"{self.command} {self.path}\n" * 5000)
        super().handle_request()


httpd.run(handler=Handler)

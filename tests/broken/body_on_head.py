"""HEAD is answered like GET, body and all."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def do_HEAD(self):
        self.command = "GET"
        self.do_GET()


httpd.run(handler=Handler)

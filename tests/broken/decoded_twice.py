"""The path is decoded twice, so %2541 becomes A."""

import urllib.parse

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def translate_path(self, path):
        return super().translate_path(urllib.parse.unquote(path))


httpd.run(handler=Handler)

"""The path is normalised first and decoded afterwards, so %2e%2e leaves the root."""

import urllib.parse

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    follow_symlinks = True  # without our own handler's second look at where a file really is

    def translate_path(self, path):
        return self.root + urllib.parse.unquote(httpd.url_normalize(path.partition("?")[0]))


httpd.run(handler=Handler)

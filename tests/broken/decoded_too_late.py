"""The path is normalised first and decoded afterwards, so %2e%2e leaves the root."""

import urllib.parse

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def translate_path(self, path):
        return self.root + urllib.parse.unquote(httpd.url_normalize(path.partition("?")[0]))


args = httpd.parse_args()
args.follow_symlinks = True  # without our own handler's second look at where a file really is
httpd.run(args, handler=Handler)

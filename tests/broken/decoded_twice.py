"""The path is decoded twice, so %2541 becomes A."""

import urllib.parse

import plain


class Handler(plain.Handler):
    def decode(self, path):
        return urllib.parse.unquote(urllib.parse.unquote(path))


plain.run(Handler)

"""The path is compared with the root first and decoded afterwards, so %2e%2e leaves the root."""

import urllib.parse

import plain


class Handler(plain.Handler):
    def decode(self, path):
        return path

    def translate_path(self, uri):
        return urllib.parse.unquote(super().translate_path(uri))


plain.run(Handler)

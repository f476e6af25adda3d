"""Answers carry no Content-Length, and the connection stays open all the same: every client waits in vain."""

import plain


class Handler(plain.Handler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        super().end_headers()


plain.run(Handler)

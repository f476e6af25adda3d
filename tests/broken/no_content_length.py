"""Answers carry no Content-Length, so only the end of the connection shows where they end."""

import plain


class Handler(plain.Handler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        self.keep_alive = False
        super().end_headers()


plain.run(Handler)

"""The head has neither an empty line at its end nor a Content-Length."""

import plain


class Handler(plain.Handler):
    def end_headers(self):
        self.head = [line for line in self.head if not line.startswith("Content-Length")]
        self.keep_alive = False
        super().end_headers()

    def push(self, data):
        super().push(data.removesuffix(b"\r\n") if data.startswith(b"HTTP/") else data)


plain.run(Handler)

"""The head has no empty line at its end, so no client knows where the body begins."""

import plain


class Handler(plain.Handler):
    def push(self, data):
        super().push(data.removesuffix(b"\r\n") if data.startswith(b"HTTP/") else data)


plain.run(Handler)

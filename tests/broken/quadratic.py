"""The body is put together with +=, which copies all that is there for each piece."""

import plain


class Handler(plain.Handler):
    def send_file(self, file):
        body = b""
        with file:
            while piece := file.read(4096):
                body += piece
        self.push(body)


plain.run(Handler)

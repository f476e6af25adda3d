"""The whole file is in memory before its first byte leaves."""

import plain


class Handler(plain.Handler):
    def send_file(self, file):
        with file:
            self.push(file.read())


plain.run(Handler)

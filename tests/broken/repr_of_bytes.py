"""The body is str() of the file's bytes."""

import plain


class Handler(plain.Handler):
    def length_of(self, file):
        size = len(str(file.read()))
        file.seek(0)
        return size

    def send_file(self, file):
        with file:
            self.push(str(file.read()).encode())


plain.run(Handler)

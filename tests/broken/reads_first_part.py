"""Only the first 256 KiB of a file are read, and the head says so."""

import io

import plain


class Handler(plain.Handler):
    size = 256 * 1024

    def length_of(self, file):
        return min(super().length_of(file), self.size)

    def send_file(self, file):
        with file:
            super().send_file(io.BytesIO(file.read(self.size)))


plain.run(Handler)

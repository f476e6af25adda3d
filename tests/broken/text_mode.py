"""Files are opened in text mode, images too."""

import os

import plain


class Handler(plain.Handler):
    def open_file(self, path):
        return open(path, encoding="latin-1")  # which makes LF of CR LF and of CR

    def send_file(self, file):
        with file:
            size = os.fstat(file.fileno()).st_size
            self.push(file.read().encode("latin-1").ljust(size))  # as long as the head has promised


plain.run(Handler)

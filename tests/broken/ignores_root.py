"""-r is read and never used."""

import plain


class Handler(plain.Handler):
    def translate_path(self, uri):
        self.root = "."
        return super().translate_path(uri)


plain.run(Handler)

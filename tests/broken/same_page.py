"""Whatever is asked for, the root's index.html comes."""

import plain


class Handler(plain.Handler):
    def translate_path(self, uri):
        return super().translate_path("/")


plain.run(Handler)

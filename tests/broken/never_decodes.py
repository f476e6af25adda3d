"""The path is taken as it comes, %20 and all."""

import plain


class Handler(plain.Handler):
    def decode(self, path):
        return path


plain.run(Handler)

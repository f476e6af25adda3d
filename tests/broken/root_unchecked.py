"""The path is joined to the root, and nobody looks where it leads."""

import plain


class Handler(plain.Handler):
    def check_inside(self, name):
        pass


plain.run(Handler)

"""The root is compared as text, so www-secret lies inside www."""

import os

import plain


class Handler(plain.Handler):
    def check_inside(self, name):
        if not os.path.normpath(name).startswith(self.root):
            raise ValueError(name)


plain.run(Handler)

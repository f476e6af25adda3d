"""Accepts, and says nothing."""

import plain


class Handler(plain.Handler):
    def handle_request(self):
        pass


plain.run(Handler)

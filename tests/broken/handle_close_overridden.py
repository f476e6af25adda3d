"""handle_close() is overridden, and nobody closes: neither after an answer nor when the client has left."""

import plain


class Handler(plain.Handler):
    def handle_close(self):
        pass


plain.run(Handler)

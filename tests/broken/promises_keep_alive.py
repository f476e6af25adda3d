"""Says keep-alive, and closes after each answer."""

import plain


class Handler(plain.Handler):
    def request_done(self):
        self.close_when_done()


plain.run(Handler)

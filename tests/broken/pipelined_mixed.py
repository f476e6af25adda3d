"""Requests are answered when the socket can be written to, and by then the next has taken the place of the first."""

import plain


class Handler(plain.Handler):
    waiting = 0

    def handle_request(self):
        self.waiting += 1
        self.await_head()

    def writable(self):
        return bool(self.waiting) or super().writable()

    def handle_write(self):
        while self.waiting:
            self.waiting -= 1
            super().handle_request()
        super().handle_write()


plain.run(Handler)

"""A request that has begun is waited for to its end, and all other clients wait with it."""

import select

import plain


class Handler(plain.Handler):
    def handle_read(self):
        super().handle_read()
        while self.connected and (self.incoming or self.ac_in_buffer):
            select.select([self.socket], [], [])  # as recv() on a blocking socket does
            super().handle_read()


plain.run(Handler)

"""A client that resets in the middle of an answer raises out of the loop and ends the worker."""

import plain


class Handler(plain.Handler):
    def handle_close(self):
        if any(self.producer_fifo):  # more than the None of close_when_done()
            raise ConnectionError("the client left in the middle of an answer")
        super().handle_close()

    def handle_error(self):
        raise


plain.run(Handler)

"""Each body is followed by the terminator, as if it were a head."""

import plain


class Handler(plain.Handler):
    def request_done(self):
        if self.method_has_body():
            self.push(b"\r\n\r\n")
        super().request_done()


plain.run(Handler)

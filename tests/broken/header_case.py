"""Fields are looked up as the client spelled them, so CONNECTION is not Connection."""

import plain


class Handler(plain.Handler):
    def parse_headers(self, head):
        super().parse_headers(head)
        if b"\r\nConnection:" not in head:
            self.keep_alive = self.protocol == "HTTP/1.1"


plain.run(Handler)

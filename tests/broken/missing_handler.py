"""do_PUT is looked for, not found, and that raises."""

import plain


class Handler(plain.Handler):
    def handle_request(self):
        getattr(self, "do_" + self.method)()
        self.request_done()


plain.run(Handler)

"""Prints far more per request than a pipe holds. Right all the same, if whoever started it reads on."""

import plain


class Handler(plain.Handler):
    def handle_request(self):
        print(f"{self.method} {self.uri}\n" * 5000)
        super().handle_request()


plain.run(Handler)

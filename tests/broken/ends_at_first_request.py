"""The first request raises out of the loop."""

import asyncore

import plain


class Handler(plain.Handler):
    def handle_request(self):
        return self.no_such_attribute

    def handle_error(self):
        raise


args = plain.parse_args()
plain.Server(args.host, args.port, Handler)
asyncore.loop()

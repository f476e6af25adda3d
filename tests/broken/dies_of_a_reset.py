"""A client that resets in the middle of an answer raises out of the loop and ends the server."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def handle_close(self):
        if self.state is httpd.SENDING:
            raise ConnectionError("the client left in the middle of an answer")
        super().handle_close()

    def handle_error(self):
        raise


args = httpd.parse_args()
Handler.root = args.root
httpd.AsyncServer(args.host, args.port, Handler).serve_forever()

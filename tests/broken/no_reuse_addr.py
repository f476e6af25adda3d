"""Binds without SO_REUSEADDR, so after a stop the port is taken for a minute."""

import plain


class Server(plain.Server):
    def reuse_address(self):
        pass


plain.run(server_class=Server)

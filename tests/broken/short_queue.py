"""Connections wait in a queue of five, as in asyncore's own examples."""

import plain


class Server(plain.Server):
    backlog = 5


plain.run(server_class=Server)

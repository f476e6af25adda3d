"""Connections wait in a queue of five, as in asyncore's own examples."""

import httpd


class Server(httpd.AsyncServer):
    backlog = 5


httpd.run(server_class=Server)

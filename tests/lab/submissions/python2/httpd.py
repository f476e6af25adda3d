"""Written after a book on Python 2."""

import asyncore
import socket


class AsyncServer(asyncore.dispatcher):
    def __init__(self, host="127.0.0.1", port=9000):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(5)

    def handle_accept(self):
        sock, addr = self.accept()
        print "Incoming connection from %s" % repr(addr)


if __name__ == "__main__":
    AsyncServer()
    asyncore.loop()

"""A file is sent with sendall() on a blocking socket: it waits for a client that does not read, and all with it."""

import plain


class Handler(plain.Handler):
    def send_file(self, file):
        self.socket.setblocking(True)
        try:
            with file:
                self.socket.sendall(file.read())
        except ConnectionError:
            self.close()
        else:
            self.socket.setblocking(False)


plain.run(Handler)

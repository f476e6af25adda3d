"""After a short send() the whole piece is sent again, not the rest: the handout's own bug."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def push_with_producer(self, producer):
        with producer.file as file:
            self.push(file.read())  # a whole file in one send() does come up short

    def send(self, data):
        sent = super().send(data)
        return sent if sent == len(data) else 0


httpd.run(handler=Handler)

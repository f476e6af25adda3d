"""After a short send() the rest is never sent."""

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def push_with_producer(self, producer):
        with producer.file as file:
            self.push(file.read())  # a whole file in one send() does come up short

    def send(self, data):
        return len(data) if super().send(data) else 0


httpd.run(handler=Handler)

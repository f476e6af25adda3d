"""Files are opened in text mode, images too."""

import io

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    def push_with_producer(self, producer):
        # In Latin-1, so that only the ends of lines change; the missing bytes are made up for at the end.
        with producer.file as file:
            text = io.TextIOWrapper(file, "latin-1").read()
        producer.file = io.BytesIO(text.encode("latin-1").ljust(producer.left))
        super().push_with_producer(producer)


httpd.run(handler=Handler)

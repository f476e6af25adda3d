"""Files are opened in text mode, images too."""

import io

import httpd


class Handler(httpd.AsyncHTTPRequestHandler):
    chunk_size = 0  # so that short files come as producers, too

    def push_with_producer(self, producer):
        with io.TextIOWrapper(producer.file, "latin-1") as text:  # which makes LF of CR LF and of CR
            self.push(text.read().encode("latin-1").ljust(producer.left))  # as long as the head has promised


httpd.run(handler=Handler)

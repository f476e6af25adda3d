"""GET /gzip/NAME answers with the file NAME of the root, compressed on the way: a producer around a producer."""

import os
import zlib

import httpd

GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for the gzip format


class GzipProducer:
    """Hands out the pieces of another producer, compressed."""

    def __init__(self, producer):
        self.producer = producer
        self.compressor = zlib.compressobj(wbits=GZIP)

    def more(self):
        # The trap: the compressor holds small pieces back, and b"" would end the answer.
        while self.compressor:
            if piece := self.producer.more():
                squeezed = self.compressor.compress(piece)
            else:
                squeezed, self.compressor = self.compressor.flush(), None
            if squeezed:
                return squeezed
        return b""

    def close(self):
        self.producer.close()


class Squeezer(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        if not self.path.startswith("/gzip/"):
            return super().do_GET()
        fd, _ = self.open_path(self.translate_path(self.path.removeprefix("/gzip")))
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()  # without a length, which is not known yet
        self.push_with_producer(GzipProducer(httpd.FileProducer(os.fdopen(fd, "rb"), self.chunk_size)))


if __name__ == "__main__":
    httpd.run(handler=Squeezer)

"""A server that makes N lines in two ways, for GET /produce?N and GET /push?N; GET /memory tells its peak memory.

docs/producers.md compares the two. For Linux, where ru_maxrss is in KiB.
"""

import itertools
import resource

import httpd


def lines(numbers):
    return b"".join(b"%d\n" % number for number in numbers)


class Numbers:
    """A producer: more() makes a thousand lines when the ones before have left."""

    def __init__(self, count):
        self.numbers = iter(range(count))

    def more(self):
        return lines(itertools.islice(self.numbers, 1000))

    def close(self):
        pass


class Handler(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        path, _, count = self.path.partition("?")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if path == "/produce":
            self.push_with_producer(Numbers(int(count)))
        elif path == "/push":
            producer = Numbers(int(count))
            while piece := producer.more():
                self.push(piece)
        elif path == "/memory":
            self.push(b"%d MiB\n" % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


if __name__ == "__main__":
    httpd.run(handler=Handler)

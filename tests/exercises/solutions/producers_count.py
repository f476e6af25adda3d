"""GET /count?N answers with the numbers below N, a line each, and never holds more than a thousand lines."""

import itertools

import httpd


class Count:
    """A producer: more() is called when the piece before has left, and returns b"" at the end."""

    def __init__(self, count):
        self.numbers = iter(range(count))

    def more(self):
        return b"".join(b"%d\n" % number for number in itertools.islice(self.numbers, 1000))

    def close(self):
        pass  # nothing to free


class Counter(httpd.AsyncHTTPRequestHandler):
    def do_GET(self):
        path, _, count = self.path.partition("?")
        if path != "/count":
            return super().do_GET()
        if not count.isdigit():
            raise httpd.HTTPError(400, "not a number")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()  # no Content-Length: the body is chunked
        self.push_with_producer(Count(int(count)))


if __name__ == "__main__":
    httpd.run(handler=Counter)

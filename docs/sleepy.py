"""An application that waits: GET /3 answers after three seconds. docs/loop.md shows which other clients wait then."""

import time


def application(environ, start_response):
    seconds = environ["PATH_INFO"].removeprefix("/")
    if seconds.isdigit():
        time.sleep(int(seconds))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]

"""Middleware adds X-Elapsed, the milliseconds until start_response() was called, to the answers of any application.

Middleware is an application to the server and a server to the application: it is called with environ and
start_response, and passes on a start_response of its own. It copies the fields, since the list belongs to the
application.
"""

import sys
import time

import async_wsgi


def timed(application):
    def outer(environ, start_response):
        started = time.monotonic()

        def inner(status, fields, exc_info=None):
            elapsed = f"{(time.monotonic() - started) * 1000:.1f}"
            return start_response(status, [*fields, ("X-Elapsed", elapsed)], exc_info)

        return application(environ, inner)

    return outer


@timed
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


if __name__ == "__main__":
    sys.argv.insert(1, "wsgi_elapsed:application")
    async_wsgi.run()

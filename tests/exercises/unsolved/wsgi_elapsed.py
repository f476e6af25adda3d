"""An application without the field."""

import sys

import async_wsgi


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


if __name__ == "__main__":
    sys.argv.insert(1, "wsgi_elapsed:application")
    async_wsgi.run()

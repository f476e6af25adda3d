"""The smallest WSGI application (PEP 3333): the same page of plain text for everyone.

Serve it from the folder it is in:

    python async_wsgi.py my_app:application
"""


def application(environ, start_response):
    """Answer 200 with the text "Hello World", whatever was asked."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello World"]

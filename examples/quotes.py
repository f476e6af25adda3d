"""A quote API built with Falcon: GET /quote answers JSON.

Needs Falcon (the extra "quotes" installs it). From the top of the checkout:

    python async_wsgi.py examples.quotes:application
    curl http://127.0.0.1:9000/quote
"""

import falcon


class QuoteResource:
    """The resource at /quote."""

    def on_get(self, req, resp):
        """Answer with a quote by Grace Hopper."""
        resp.media = {
            "quote": "I've always been more interested in the future than in the past.",
            "author": "Grace Hopper",
        }


application = falcon.App()
application.add_route("/quote", QuoteResource())

"""A small site made with Falcon: forms, JSON, an upload, a stream, cookies, a redirect, a page with ETag, a download.

The same site as in the other *_site.py files here. From the top of the checkout, with Falcon installed:

    python async_wsgi.py examples.falcon_site:application
"""

import hashlib
import os

import falcon

PAGE = "A page that seldom changes\n"


class Index:
    def on_get(self, req, resp):
        resp.content_type, resp.text = falcon.MEDIA_TEXT, "Hello\n"

    on_head = on_get


class Form:
    def on_post(self, req, resp):
        resp.content_type, resp.text = falcon.MEDIA_TEXT, f"Hello, {req.get_media()['name']}"


class Sum:
    def on_post(self, req, resp):
        resp.media = {"sum": sum(req.get_media()["numbers"])}


class Upload:
    def on_post(self, req, resp):
        sha256 = hashlib.sha256()
        for part in req.get_media():
            while piece := part.stream.read(65536):
                sha256.update(piece)
        resp.media = {"sha256": sha256.hexdigest()}


class Stream:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = (b"line %d\n" % number for number in range(10000))


class Visits:
    def on_get(self, req, resp):
        count = int(req.cookies.get("visits", 0)) + 1
        resp.content_type, resp.text = falcon.MEDIA_TEXT, str(count)
        resp.set_cookie("visits", str(count), secure=False)
        resp.set_cookie("flavour", "chocolate", secure=False)


class Old:
    def on_get(self, req, resp):
        raise falcon.HTTPSeeOther("/")


class Page:
    etag = falcon.ETag(hashlib.sha256(PAGE.encode()).hexdigest())

    def on_get(self, req, resp):
        resp.etag = self.etag
        if self.etag in (req.if_none_match or []):
            resp.status = falcon.HTTP_304
        else:
            resp.content_type, resp.text = falcon.MEDIA_TEXT, PAGE

    on_head = on_get


class Download:
    def on_get(self, req, resp):
        resp.downloadable_as = "site.py"
        resp.set_stream(open(__file__, "rb"), os.path.getsize(__file__))


class Fail:
    def on_get(self, req, resp):
        resp.text = str(1 // 0)


application = falcon.App()
for uri, resource in {
    "/": Index(),
    "/form": Form(),
    "/sum": Sum(),
    "/upload": Upload(),
    "/stream": Stream(),
    "/visits": Visits(),
    "/old": Old(),
    "/page": Page(),
    "/download": Download(),
    "/fail": Fail(),
}.items():
    application.add_route(uri, resource)

"""A small site made with Bottle: forms, JSON, an upload, a stream, cookies, a redirect, a page with ETag, a download.

The same site as in the other *_site.py files here. From the top of the checkout, with Bottle installed:

    python async_wsgi.py examples.bottle_site:application
"""

import hashlib
import os

from bottle import Bottle, HTTPResponse, redirect, request, response, static_file

application = Bottle()
PAGE = "A page that seldom changes\n"
ETAG = f'"{hashlib.sha256(PAGE.encode()).hexdigest()}"'


@application.get("/")
def index():
    response.content_type = "text/plain"
    return "Hello\n"


@application.post("/form")
def form():
    response.content_type = "text/plain; charset=utf-8"
    return f"Hello, {request.forms.getunicode('name')}"


@application.post("/sum")
def total():
    return {"sum": sum(request.json["numbers"])}


@application.post("/upload")
def upload():
    return {"sha256": hashlib.file_digest(request.files["file"].file, "sha256").hexdigest()}


@application.get("/stream")
def stream():
    response.content_type = "text/plain"
    for number in range(10000):
        yield f"line {number}\n"


@application.get("/visits")
def visits():
    count = int(request.get_cookie("visits", 0)) + 1
    response.set_cookie("visits", str(count), httponly=True)
    response.set_cookie("flavour", "chocolate")
    response.content_type = "text/plain"
    return str(count)


@application.get("/old")
def old():
    redirect("/", 303)


@application.get("/page")
def page():
    if request.get_header("If-None-Match") == ETAG:
        return HTTPResponse(status=304, headers={"ETag": ETAG})
    response.content_type = "text/plain"
    response.set_header("ETag", ETAG)
    return PAGE


@application.get("/download")
def download():
    folder, name = os.path.split(__file__)
    return static_file(name, folder, download="site.py")


@application.get("/fail")
def fail():
    return str(1 // 0)

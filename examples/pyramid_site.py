"""A small site made with Pyramid: forms, JSON, an upload, a stream, cookies, a redirect, a page with ETag, a download.

The same site as in the other *_site.py files here. From the top of the checkout, with Pyramid installed:

    python async_wsgi.py examples.pyramid_site:application
"""

import hashlib

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import FileResponse, Response


def index(request):
    return Response("Hello\n", content_type="text/plain")


def form(request):
    return Response(f"Hello, {request.POST['name']}", content_type="text/plain")


def total(request):
    return Response(json={"sum": sum(request.json_body["numbers"])})


def upload(request):
    return Response(json={"sha256": hashlib.file_digest(request.POST["file"].file, "sha256").hexdigest()})


def stream(request):
    return Response(app_iter=(b"line %d\n" % number for number in range(10000)), content_type="text/plain")


def visits(request):
    count = int(request.cookies.get("visits", 0)) + 1
    response = Response(str(count), content_type="text/plain")
    response.set_cookie("visits", str(count), httponly=True)
    response.set_cookie("flavour", "chocolate")
    return response


def old(request):
    return HTTPSeeOther("/")


def page(request):
    response = Response("A page that seldom changes\n", content_type="text/plain", conditional_response=True)
    response.md5_etag()
    return response


def download(request):
    response = FileResponse(__file__, request)
    response.content_disposition = "attachment; filename=site.py"
    return response


def fail(request):
    return Response(str(1 // 0))


with Configurator() as config:
    for name, view, method in [
        ("", index, "GET"),
        ("form", form, "POST"),
        ("sum", total, "POST"),
        ("upload", upload, "POST"),
        ("stream", stream, "GET"),
        ("visits", visits, "GET"),
        ("old", old, "GET"),
        ("page", page, "GET"),
        ("download", download, "GET"),
        ("fail", fail, "GET"),
    ]:
        config.add_route(view.__name__, "/" + name)
        config.add_view(view, route_name=view.__name__, request_method=method)
    application = config.make_wsgi_app()

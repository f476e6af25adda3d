"""A small site made with Django in a single file: forms, JSON, an upload, a stream, cookies, a redirect, a page with
ETag, a download.

The same site as in the other *_site.py files here. From the top of the checkout, with Django installed:

    python async_wsgi.py examples.django_site:application
"""

import hashlib
import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import etag, require_http_methods, require_POST, require_safe

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # adds Content-Length
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this example",
)

PAGE = "A page that seldom changes\n"


@require_safe
def index(request):
    return HttpResponse("Hello\n", "text/plain")


@require_POST
def form(request):
    return HttpResponse(f"Hello, {request.POST['name']}", "text/plain")


@require_POST
def total(request):
    return JsonResponse({"sum": sum(json.loads(request.body)["numbers"])})


@require_POST
def upload(request):
    sha256 = hashlib.sha256()
    for chunk in request.FILES["file"].chunks():
        sha256.update(chunk)
    return JsonResponse({"sha256": sha256.hexdigest()})


@require_safe
def stream(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(10000)), content_type="text/plain")


@require_safe
def visits(request):
    count = int(request.COOKIES.get("visits", 0)) + 1
    response = HttpResponse(str(count), "text/plain")
    response.set_cookie("visits", count, httponly=True)
    response.set_cookie("flavour", "chocolate")
    return response


@require_http_methods(["GET", "HEAD"])
def old(request):
    response = HttpResponseRedirect("/")
    response.status_code = 303
    return response


@require_safe
@etag(lambda request: f'"{hashlib.sha256(PAGE.encode()).hexdigest()}"')
def page(request):
    return HttpResponse(PAGE, "text/plain")


@require_safe
def download(request):
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="site.py")


def fail(request):
    return HttpResponse(1 // 0)


urlpatterns = [
    path("", index),
    path("form", form),
    path("sum", total),
    path("upload", upload),
    path("stream", stream),
    path("visits", visits),
    path("old", old),
    path("page", page),
    path("download", download),
    path("fail", fail),
]
application = get_wsgi_application()

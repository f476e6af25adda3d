"""A small site made with Flask: forms, JSON, an upload, a stream, cookies, a redirect, a page with ETag, a download.

The same site as in the other *_site.py files here. From the top of the checkout, with Flask installed:

    python async_wsgi.py examples.flask_site:application
    FLASK_DEBUG=1 python async_wsgi.py --reload examples.flask_site:application
"""

import hashlib

from flask import Flask, Response, jsonify, redirect, request, send_file
from werkzeug.debug import DebuggedApplication

application = Flask(__name__)
if application.debug:
    application.wsgi_app = DebuggedApplication(application.wsgi_app)


@application.get("/")
def index():
    return Response("Hello\n", mimetype="text/plain")


@application.post("/form")
def form():
    return Response(f"Hello, {request.form['name']}", mimetype="text/plain")


@application.post("/sum")
def total():
    return jsonify(sum=sum(request.json["numbers"]))


@application.post("/upload")
def upload():
    return jsonify(sha256=hashlib.file_digest(request.files["file"].stream, "sha256").hexdigest())


@application.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(10000)), mimetype="text/plain")


@application.get("/visits")
def visits():
    count = int(request.cookies.get("visits", 0)) + 1
    response = Response(str(count), mimetype="text/plain")
    response.set_cookie("visits", str(count), httponly=True)
    response.set_cookie("flavour", "chocolate")
    return response


@application.get("/old")
def old():
    return redirect("/", 303)


@application.get("/page")
def page():
    response = Response("A page that seldom changes\n", mimetype="text/plain")
    response.add_etag()
    return response.make_conditional(request)


@application.get("/download")
def download():
    return send_file(__file__, as_attachment=True, download_name="site.py")


@application.get("/fail")
def fail():
    return str(1 // 0)

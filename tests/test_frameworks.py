"""Flask, Django, Falcon, Bottle and Pyramid: the same small site on a live server, in the loop and in threads."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import requests
from conftest import ROOT, running_servers, wait_until

FRAMEWORKS = ["flask", "django", "falcon", "bottle", "pyramid"]


def command(name, threads):
    """Return the command that serves an example; what the frameworks warn of is not ours."""
    options = ["--port", "0", "--threads", str(threads), f"examples.{name}:application"]
    return [sys.executable, "-W", "ignore", "async_wsgi.py", *options]


# Each framework once in the quick run; the other mode is slow, as it takes as long again.
MODES = [
    pytest.param(f"{name}-{mode}", marks=pytest.mark.slow if slow else ())
    for number, name in enumerate(FRAMEWORKS)
    for mode, slow in (("loop", number % 2 == 1), ("threads", number % 2 == 0))
]


@pytest.fixture(scope="module", params=MODES)
def site(request, tmp_path_factory):
    """The Server of the site made with one of the frameworks."""
    name, mode = request.param.split("-")
    pytest.importorskip(name)
    with running_servers(tmp_path_factory.mktemp(request.param)) as run:
        server = run(command(f"{name}_site", 4 if mode == "threads" else 0), cwd=ROOT).wait_started()
        server.may_complain = True
        server.source = ROOT / "examples" / f"{name}_site.py"
        yield server


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


def test_text(site, session):
    answer = session.get(site.url)
    assert (answer.status_code, answer.text) == (200, "Hello\n")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Content-Length"] == "6"


def test_head_is_get_without_the_body(site, session):
    head, get = session.head(site.url), session.get(site.url)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "Date": ""} == {**get.headers, "Date": ""}


def test_unknown_path_and_method(site, session):
    assert session.get(site.url + "no-such-page").status_code == 404
    # Pyramid says that no view fits; the others that the method does not.
    assert session.post(site.url).status_code in (405, 404)


def test_form(site, session):
    assert session.post(site.url + "form", data={"name": "Gr\xe4ce & Co"}).content == "Hello, Gr\xe4ce & Co".encode()


def test_json(site, session):
    answer = session.post(site.url + "sum", json={"numbers": list(range(10000))})
    assert answer.json() == {"sum": 49995000}
    assert answer.headers["Content-Type"].startswith("application/json")


def test_chunked_json(site, session):
    """Frameworks know nothing of chunks: they believe in CONTENT_LENGTH."""
    text = json.dumps({"numbers": [1, 2, 3]}).encode()
    pieces = (text[start : start + 5] for start in range(0, len(text), 5))
    answer = session.post(site.url + "sum", data=pieces, headers={"Content-Type": "application/json"})
    assert answer.json() == {"sum": 6}


def test_upload_of_20_megabytes(site, session):
    content = os.urandom(20_000_000)
    answer = session.post(site.url + "upload", files={"file": ("noise", content)})
    assert answer.json() == {"sha256": hashlib.sha256(content).hexdigest()}
    assert session.get(site.url).text == "Hello\n"


def test_stream(site, session):
    answer = session.get(site.url + "stream", stream=True)
    assert b"".join(answer.iter_content(1000)) == b"".join(b"line %d\n" % number for number in range(10000))
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert session.get(site.url).text == "Hello\n"


def test_abandoned_stream_harms_nobody(site, session):
    for _ in range(8):
        with requests.get(site.url + "stream", stream=True) as answer:
            answer.raw.read(100)
    assert session.get(site.url).text == "Hello\n"


def test_cookies(site, session):
    assert [session.get(site.url + "visits").text for _ in range(3)] == ["1", "2", "3"]
    assert session.cookies["visits"] == "3"
    assert session.cookies["flavour"] == "chocolate"  # two Set-Cookie fields stay two


def test_redirect(site, session):
    answer = session.get(site.url + "old")
    assert [before.status_code for before in answer.history] == [303]
    assert (answer.url, answer.text) == (site.url, "Hello\n")


def test_conditional_get(site, session):
    first = session.get(site.url + "page")
    assert (first.status_code, first.text) == (200, "A page that seldom changes\n")
    again = session.get(site.url + "page", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert session.get(site.url + "page", headers={"If-None-Match": '"other"'}).status_code == 200


def test_download(site, session):
    answer = session.get(site.url + "download")
    assert answer.content == site.source.read_bytes()
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert session.get(site.url).text == "Hello\n"


def test_exception_is_500_and_the_traceback_is_in_the_log_only(site, session):
    answer = session.get(site.url + "fail")
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text and "Traceback" not in answer.text
    assert session.get(site.url).text == "Hello\n"
    if "django" not in site.source.name:  # which sends it to its admins by mail
        wait_until(lambda: "ZeroDivisionError" in "\n".join(site.log_lines()), "a traceback in the log")


@pytest.fixture
def start_example(tmp_path):
    """Return a function that starts an example in *threads* threads."""
    with running_servers(tmp_path) as run:
        yield lambda name, threads, **environment: run(
            command(name, threads), cwd=ROOT, env={**os.environ, **environment}
        ).wait_started()


def test_quotes(start_example, session):
    server = start_example("quotes", 0)
    assert session.get(server.url + "quote").json()["author"] == "Grace Hopper"


@pytest.mark.parametrize("threads", [0, 4])
def test_flask_shows_its_traceback_while_debugging(start_example, session, threads):
    server = start_example("flask_site", threads, FLASK_DEBUG="1")
    server.may_complain = True
    answer = session.get(server.url + "fail")
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text and "return str(1 // 0)" in answer.text
    style = session.get(server.url + "fail?__debugger__=yes&cmd=resource&f=style.css")
    assert style.status_code == 200 and style.headers["Content-Type"].startswith("text/css")
    assert session.get(server.url).text == "Hello\n"


def test_django_answers_as_its_test_client_expects(start_example, session):
    """Status, body and fields on the wire are those that Django's own test client sees."""
    server = start_example("django_site", 0)
    program = """
import json, examples.django_site
from django.test import Client
answers = []
for method, path, options in json.load(open(0)):
    answer = getattr(Client(), method)(path, **options)
    answers.append([answer.status_code, b"".join(answer).decode(), dict(answer.headers)])
print(json.dumps(answers))
"""
    cases = [["get", "/", {}], ["head", "/", {}], ["get", "/page", {}], ["get", "/old", {}], ["get", "/nowhere", {}],
             ["post", "/", {}], ["get", "/stream", {}], ["get", "/download", {}], ["options", "/page", {}]]  # fmt: skip
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        input=json.dumps(cases),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    for (method, path, _), (status, body, fields) in zip(cases, json.loads(output), strict=True):
        answer = session.request(method, server.url + path[1:], allow_redirects=False)
        assert (answer.status_code, answer.text) == (status, body), path
        assert fields.items() <= dict(answer.headers).items(), path

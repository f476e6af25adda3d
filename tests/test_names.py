"""No shared names: an application may call its modules as it likes, and so may we."""

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, running_servers

from asynchttpd import loading

NAMES = [
    "proxy", "listing", "status", "http1", "command_line", "channel", "conditional", "body", "answer", "files",
    "random", "html", "tempfile", "shutil", "bisect", "my_app",
]  # fmt: skip

APPLICATION = f"""
import importlib

found = {{name: importlib.import_module(name).OWNER for name in {NAMES!r}}}


def application(environ, start_response):
    body = environ["wsgi.input"].read().decode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr((found, body, environ["REMOTE_ADDR"])).encode()]
"""


@pytest.fixture
def folder(tmp_path):
    """An application's folder that has modules with names of ours and of the standard library's."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("OWNER = 'the application'\n")
    (tmp_path / "own_names.py").write_text(APPLICATION)
    (tmp_path / "shared" / "sub").mkdir(parents=True)
    (tmp_path / "shared" / "page.rst").write_text("text")
    return tmp_path


@pytest.fixture(params=["from the checkout", "as a module", "installed"])
def command(request, folder):
    """What starts async_wsgi.py, and the environment for it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if request.param == "from the checkout":
        return [sys.executable, ROOT / "async_wsgi.py"], environment
    site = ROOT
    if request.param == "installed":  # where pip puts it, and as the command that it makes starts it
        site = folder / "site-packages"
        shutil.copytree(ROOT / "asynchttpd", site / "asynchttpd")
        shutil.copy(ROOT / "httpd.py", site)
        shutil.copy(ROOT / "async_wsgi.py", site)
        entry_point = folder / "bin" / "asynchttpd-wsgi"
        entry_point.parent.mkdir()
        entry_point.write_text("from async_wsgi import run\nrun()\n")
        return [sys.executable, entry_point], {**environment, "PYTHONPATH": str(site)}
    return [sys.executable, "-m", "async_wsgi"], {**environment, "PYTHONPATH": str(site)}


def test_application_and_server_each_have_their_own_modules(tmp_path_factory, connect, folder, command):
    start, environment = command
    options = ["--port", "0", "--trusted-proxy", "127.0.0.1", "--static", "/s=shared", "--listing", "--access-log", "-"]
    with running_servers(tmp_path_factory.mktemp("log")) as run:
        server = run([*start, *options, "--log-format", "json", "own_names"], cwd=folder, env=environment)
        check(connect(server.wait_started()))


def check(client):
    client.send(b"POST /%41 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nContent-Length: 4\r\n\r\nbody")
    answer = client.read_answer()
    assert answer.status == 200, answer.body
    found, body, address = ast.literal_eval(answer.body.decode())
    assert found == dict.fromkeys(NAMES, "the application")
    assert (body, address) == ("body", "203.0.113.7")
    assert b"page.rst" in client.get("/s/").body
    assert "page.rst" in json.dumps(json.loads(client.get("/s/", "Accept: application/json").body))
    assert client.get("/s/page.rst", "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT").status == 304


def test_what_is_imported_late_is_imported_before_the_application():
    listed = {name for names in loading.LATE.values() for name in names} | {
        "ast",
        "random",
        "asynchttpd.loading",
    }  # by then
    late = set()
    for path in [ROOT / "httpd.py", ROOT / "async_wsgi.py", *Path(ROOT / "asynchttpd").glob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                late |= {name for node in ast.walk(function) for name in imported(node)}
    assert late - listed - {name.removesuffix(".thread") for name in listed} == set()


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"asynchttpd.{alias.name}" for alias in node.names] if node.module == "asynchttpd" else [node.module]
    return []

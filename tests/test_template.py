"""The lab's empty template: every name of the handout is there, it runs, and the lab check passes it nowhere."""

import json
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, group_members, wait_until
from lab.clients import connected_clients, exchange
from lab.server import Server
from test_lab_check import lab_check

TEMPLATE = ROOT / "examples" / "template"
# Name -> parameters, as the handout writes them; None where it gives none.
NAMES = {
    "httpd": {
        "url_normalize": "path",
        "FileProducer.__init__": "self, file, chunk_size=4096",
        "FileProducer.more": "self",
        "AsyncServer.__init__": "self, host='127.0.0.1', port=9000",
        "AsyncServer.handle_accepted": "self, sock, addr",
        "AsyncServer.serve_forever": "self",
        "AsyncHTTPRequestHandler.__init__": "self, sock",
        "AsyncHTTPRequestHandler.collect_incoming_data": "self, data",
        "AsyncHTTPRequestHandler.found_terminator": "self",
        "AsyncHTTPRequestHandler.parse_request": "self",
        "AsyncHTTPRequestHandler.parse_headers": "self",
        "AsyncHTTPRequestHandler.handle_request": "self",
        "AsyncHTTPRequestHandler.send_header": "self, keyword, value",
        "AsyncHTTPRequestHandler.send_error": "self, code, message=None",
        "AsyncHTTPRequestHandler.send_response": "self, code, message=None",
        "AsyncHTTPRequestHandler.end_headers": "self",
        "AsyncHTTPRequestHandler.date_time_string": "self",
        "AsyncHTTPRequestHandler.send_head": "self",
        "AsyncHTTPRequestHandler.translate_path": "self, path",
        "AsyncHTTPRequestHandler.do_GET": "self",
        "AsyncHTTPRequestHandler.do_HEAD": "self",
        "parse_args": None,
        "run": None,
    },
    "async_wsgi": {
        "AsyncWSGIServer.set_app": "self, application",
        "AsyncWSGIServer.get_app": "self",
        "AsyncWSGIRequestHandler.get_environ": "self",
        "AsyncWSGIRequestHandler.start_response": "self, status, response_headers, exc_info=None",
        "AsyncWSGIRequestHandler.handle_request": "self",
        "AsyncWSGIRequestHandler.finish_response": "self, result",
    },
    "my_app": {"application": "environ, start_response"},
}
SIGNATURES = """
import importlib, inspect, json, operator, sys
print(json.dumps({
    module: {name: str(inspect.signature(operator.attrgetter(name)(importlib.import_module(module))))[1:-1]
             for name in names}
    for module, names in json.loads(sys.argv[1]).items()
}))
"""


def run(*arguments):
    """Run Python in the template's folder; return what it printed."""
    command = [sys.executable, "-B", "-W", "ignore::DeprecationWarning", *arguments]
    return subprocess.run(command, cwd=TEMPLATE, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def test_template_has_every_name_of_the_handout():
    found = json.loads(run("-c", SIGNATURES, json.dumps({module: list(names) for module, names in NAMES.items()})))
    for module, names in NAMES.items():
        for name, parameters in names.items():
            assert parameters in (None, found[module][name]), name


def test_template_knows_the_statuses_of_the_handout():
    program = "import httpd; print(sorted(httpd.AsyncHTTPRequestHandler.responses))"
    assert run("-c", program) == "[200, 400, 403, 404, 405]\n"


def test_template_has_the_options_of_the_handout():
    program = "import httpd, json; print(json.dumps(vars(httpd.parse_args())))"
    expected = {"host": "127.0.0.1", "port": 9000, "log": "info", "logfile": None, "nworkers": 1, "document_root": "."}
    assert json.loads(run("-c", program)) == expected


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (["httpd.py", "-w", "2", "-r", "."], "Serving on"),
        (["async_wsgi.py", "my_app:application"], "Serving my_app:application on"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[0],
)
def test_template_starts_accepts_logs_and_stops(script, says, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-B", *script, "--port", "0", "--log", "debug", "--logfile", str(log)]
    server = subprocess.Popen(command, cwd=TEMPLATE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        line = wait_until(lambda: log.exists() and log.read_text(), "the start")
        assert re.fullmatch(rf"httpd: {server.pid} {says} 127\.0\.0\.1:\d+\n", line)
        port = int(line.rpartition(":")[2])
        subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/"], timeout=20)
        assert "Incoming connection from ('127.0.0.1', " in log.read_text()
        assert "Incoming data: b'GET / HTTP/1.1" in log.read_text()
    finally:
        server.terminate()
        server.wait(20)
    assert not group_members(server.pid)


def test_lab_check_says_that_the_template_answers_nothing_and_fines_nothing_else(tmp_path):
    commands = ["--httpd", f"python -B {TEMPLATE}/httpd.py -r {{root}} -w {{workers}} --port {{port}}"]
    commands += ["--wsgi", f"python -B {TEMPLATE}/async_wsgi.py {{app}} --port {{port}}"]
    facts = lab_check(tmp_path / "record", "tests/lab", *commands)
    said = [(fact["verdict"][0], fact["exception"].partition(" (")[0]) for fact in facts if fact["outcome"] == "failed"]
    assert said == [("does-not-answer", "NotImplementedError: parse_request")] * 2
    assert {fact["outcome"] for fact in facts} == {"failed", "not judged"}


def test_template_has_room_for_a_hundred_clients_and_starts_again_on_its_port(tmp_path):
    """So the check fines nothing that students have not written themselves."""
    server = Server(f"python -B {TEMPLATE}/httpd.py -r {{root}} --port {{port}}", root=tmp_path)
    server.start()
    try:
        server.signal_group(signal.SIGSTOP)
        assert connected_clients(server, 100, seconds=0.7) == 100
        server.signal_group(signal.SIGCONT)
        exchange(server)  # which the server ends, so that its port rests in TIME_WAIT
        server.stop()
        server.start(server.port)
    finally:
        server.stop()

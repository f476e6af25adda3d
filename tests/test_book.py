"""The pages of the book can be replayed: their commands print what stands below them, their figures show what is said.

A ```console block is a session: lines that begin with "$ " are commands, the lines below one what it prints.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, python_command, running_servers

DOCS = ROOT / "docs"


def sessions(page):
    """Return the console blocks of a page, each as a list of (command, lines that it prints)."""
    blocks = re.findall(r"^```console\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    return [
        [
            (command, printed.rstrip("\n").splitlines())
            for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
        ]
        for block in blocks
    ]


def replay(session, ports):
    """Run the commands of *session* in one shell, with *ports* (the page's -> real); return the lines of each."""
    script = "\necho @@\n".join(command for command, _ in session)
    for written, real in ports.items():
        script = re.sub(rf"(127\.0\.0\.1[: ]){written}\b", rf"\g<1>{real}", script)
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # `python` is the one that runs the tests
    environ = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)
    return [printed.replace("\r", "").rstrip("\n").splitlines() for printed in f"{done.stdout}\n".split("@@\n")]


def check_sessions(page, ports):
    assert sessions(page)
    for session in sessions(page):
        printed = replay(session, ports)
        for (command, expected), lines in zip(session, printed, strict=True):
            assert lines == expected, command


@pytest.fixture
def run(tmp_path):
    with running_servers(tmp_path) as start:
        yield lambda *command: start(python_command(*command, "--port", 0), cwd=ROOT).wait_started()


@pytest.mark.skipif(not shutil.which("nc"), reason="the attacks are sent with nc")
def test_framing_attacks_do_what_the_page_says(run):
    ours, lenient = run("httpd.py", "-r", "www", "--log", "debug"), run("docs/lenient.py")
    check_sessions("framing.md", {9000: ours.port, 9001: lenient.port})
    log = "\n".join(ours.stop())
    reasons = re.findall(r"`(refused: [^`]+)`", (DOCS / "framing.md").read_text())
    assert len(reasons) == 4
    assert [reason for reason in reasons if reason not in log] == []


def test_blocking_call_stops_every_client_but_not_with_threads(run):
    command = "async_wsgi.py", "docs.sleepy:application"
    check_sessions("loop.md", {9000: run(*command).port, 9001: run(*command, "--threads", 4).port})


def test_event_costs_the_same_beside_any_number_of_connections(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    turns = importlib.import_module("turns")
    few, many = (turns.measure(turns.LOOPS["epoll, EventMap"], idle) for idle in (10, 1000))
    assert many < 5 * few  # asked one by one, a hundred times as many cost some forty times as much
    assert turns.measure(turns.LOOPS["poll, asks each channel"], 1000) > 5 * many
    assert turns.measure(turns.LOOPS["select, asks each channel"], 1000) is None


def test_producer_needs_no_memory_for_a_slow_reader_and_push_does(run, connect):
    server = run("docs/backpressure.py")
    check_sessions("producers.md", {9000: server.port})

    def peak_with(target):
        reader = connect(server, receive_buffer=4096)
        reader.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert b" 200 " in reader.reader.readline()
        return int(connect(server).get("/memory").body.split()[0])

    before = int(connect(server).get("/memory").body.split()[0])
    assert peak_with("/produce?5000000") < before + 8
    assert peak_with("/push?5000000") > before + 37

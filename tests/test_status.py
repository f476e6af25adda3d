"""--status: health, metrics and the page, served by a process of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import ROOT, Client, python_command, running_servers, wait_until
from prometheus_client.parser import text_string_to_metric_families

from asynchttpd import scoreboard
from asynchttpd.status import MAX_STREAMS, report
from asynchttpd.statuspage import page

STATUS = re.compile(r"Status at http://127\.0\.0\.1:([0-9]+)/")


class Status:
    """The status listener of a *server*."""

    def __init__(self, server):
        log = wait_until(lambda: STATUS.search(server.log_path.read_text()), "the line of the status listener")
        self.port = int(log[1])

    def get(self, path, method="GET"):
        """Return (status, fields, body)."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def facts(self):
        return json.loads(self.get("/status.json")[2])

    def health(self):
        return self.get("/health")[0]

    def metrics(self):
        """Return {name, or name and its label's value: number}, as Prometheus' own parser reads them."""
        families = text_string_to_metric_families(self.get("/metrics")[2].decode())
        samples = [sample for family in families for sample in family.samples]
        return {(sample.name.removeprefix("asynchttpd_"), *sample.labels.values()): sample.value for sample in samples}


@contextlib.contextmanager
def watched(folder, *options):
    with running_servers(folder) as run:
        server = run(python_command("httpd.py", "--port", 0, "--status", 0, *options), cwd=ROOT).wait_started()
        yield server, Status(server)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A server with two workers that all tests of this module share, and its status."""
    with watched(tmp_path_factory.mktemp("status"), "-r", "www", "-w", 2) as (server, status):
        wait_until(lambda: [row["state"] for row in status.facts()["workers"]] == ["serving"] * 2, "both workers")
        yield server, status


# The first of all: a process that is killed takes with it what a measurement of coverage has found out.
def test_status_process_is_started_again_when_it_dies(pair):
    server, status = pair
    workers = {row["pid"] for row in status.facts()["workers"]}
    [companion] = set(server.workers()) - workers
    os.kill(companion, signal.SIGTERM)  # to a whole group: it stays
    assert status.health() == 200
    os.kill(companion, signal.SIGKILL)
    wait_until(lambda: set(server.workers()) - workers - {companion}, "another process")
    wait_until(lambda: status.health() == 200, "its answer")


def test_answers_are_counted_by_class(pair, connect):
    server, status = pair
    before, client = status.metrics(), connect(server)
    for target in ("/", "/", "/missing"):
        client.get(target)

    def more(*name):
        return status.metrics()[name] - before[name]

    wait_until(lambda: more("requests_total") == 3, "three more requests")
    assert more("responses_total", "2xx") == 2
    assert more("responses_total", "4xx") == 1
    assert more("sent_bytes_total") > 1000


@pytest.mark.parametrize(
    ("sent", "state"),
    [(b"", "waiting"), (b"GET / HT", "head"), (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1", "body")],
)
def test_each_connection_is_counted_in_its_state(pair, connect, sent, state):
    server, status = pair
    client = connect(server)
    client.send(sent)
    wait_until(lambda: status.metrics()["connections", state] == 1, f"a connection in state {state}")
    if sent:
        wait_until(lambda: max(row["oldest"] for row in status.facts()["workers"]) > 0, "the age of the request")
    client.close()
    wait_until(lambda: status.metrics()["connections", state] == 0, "its end")


def test_loops_tell_how_busy_they_are(pair):
    _, status = pair
    metrics = status.metrics()
    assert metrics["loop_seconds_total", "0", "idle"] > metrics["loop_seconds_total", "0", "busy"] > 0
    assert 1e6 < metrics["resident_memory_bytes", "0"] < 1e9


def test_dashboard_shows_what_there_is(pair):
    text = (ROOT / "deploy" / "grafana.json").read_text()
    shown = set(re.findall(r"asynchttpd_(\w+)", text))
    assert shown == {name for name, *_ in pair[1].metrics()}


@pytest.mark.parametrize("path", ["/health", "/metrics", "/status.json"])
def test_head_and_get_only(pair, path):
    _, status = pair
    assert status.get(path, "HEAD")[::2] == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        assert status.get(path, method)[0] == 405
    with contextlib.closing(Client(socket.create_connection(("127.0.0.1", status.port)))) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode())
        assert client.read_answer().status == 200  # nobody reads that body


def test_page_shows_each_worker_and_its_connections_without_script(pair, connect):
    server, status = pair
    client = connect(server)
    client.send(b"GET / HT")
    wait_until(lambda: status.metrics()["connections", "head"] == 1, "a connection")
    code, fields, page = status.get("/")
    assert (code, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
    for row in status.facts()["workers"]:
        assert f"<b>{row['pid']}</b> serving" in page.decode()
    assert 'aria-label="head 1"' in page.decode()
    assert '<noscript><meta http-equiv="refresh"' in page.decode()
    assert not re.search(r"(src|href)=.?(http|//)", page.decode())


def test_stream_of_events_goes_on(pair):
    with urllib.request.urlopen(f"http://127.0.0.1:{pair[1].port}/events", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        for _ in range(3):
            assert "Workers: 2" in json.loads(stream.readline().removeprefix(b"data: "))
            assert stream.readline() == b"\n"


def test_streams_have_a_limit(pair):
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(MAX_STREAMS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", pair[1].port)))
            clients.append(stack.enter_context(contextlib.closing(Client(sock))))
            clients[-1].send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients:  # the last may be refused: of an earlier test's client we may not know yet that it left
            assert client.reader.readline().split()[1] in (b"200", b"503")
        assert pair[1].get("/events")[0] == 503
        assert pair[1].health() == 200
    wait_until(lambda: pair[1].get("/events", "HEAD")[0] == 200, "an end of those whose client has left")


def test_anything_else_is_not_there(pair):
    assert pair[1].get("/index.html")[0] == 404


def test_killed_and_reloaded_workers_are_named_with_their_cause(pair):
    server, status = pair
    victim = status.facts()["workers"][0]["pid"]
    requests = status.metrics()["requests_total",]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: status.facts()["events"], "the event")
    assert {"pid": victim, "cause": "killed"}.items() <= status.facts()["events"][0].items()
    assert status.metrics()["replaced_workers_total", "killed"] == 1
    wait_until(lambda: status.metrics()["workers", "serving"] == 2, "a new worker")
    began = time.monotonic()
    server.signal(signal.SIGHUP)
    wait_until(lambda: status.metrics()["replaced_workers_total", "reload"] == 2, "two new workers")
    rows = [row for row in status.facts()["workers"] if row["state"] == "serving"]
    assert all(row["busy"] + row["idle"] <= time.monotonic() - began for row in rows)  # not since the server's start
    assert status.metrics()["requests_total",] >= requests  # what the dead have done still counts


def test_stopped_workers_are_unhealthy_and_shown_as_hung(pair):
    _, status = pair
    rows = status.facts()["workers"]
    pids = [row["pid"] for row in rows if row["state"] == "serving"]  # others may be leaving after a reload
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: status.health() == 503, "the end of health")
        assert [row["state"] for row in status.facts()["workers"] if row["pid"] in pids] == ["hung"] * 2
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: status.health() == 200, "health")


def test_page_says_what_is_wrong_with_a_worker():
    board = scoreboard.Board(room=1)
    row = board.take()
    row[scoreboard.PID], row[scoreboard.STATE], row[scoreboard.TURNED] = 7, scoreboard.SERVING, 1000  # milliseconds
    row[scoreboard.OLDEST], row[scoreboard.LAG] = 2_000_000, 500_000  # microseconds
    row[scoreboard.THREADS], row[scoreboard.QUEUED] = 3, 4
    row[scoreboard.STATES.start] = 401
    board.note(6, scoreboard.KILLED)
    shown = page(report(board, now=61.0, history=[0, 0]))
    for text in ("No worker serves", "loop has not turned for 60 s", "oldest request 2 s", "loop late by 0.5 s",
                 "threads busy 3, queued 4", "+ 1</div>", "worker 6 "):  # fmt: skip
        assert text in shown
    board.master[scoreboard.STOPPING] = 1
    assert "The server is stopping" in page(report(board, now=61.0, history=[0, 0]))


def test_board_has_room_for_so_many_workers():
    board = scoreboard.Board(room=1)
    board.take()[scoreboard.STATE] = scoreboard.SERVING
    with pytest.raises(OSError, match="too many workers"):
        board.take()


def test_drain_delay_serves_on_while_health_says_no(tmp_path, connect):
    with watched(tmp_path, "-r", "www", "--drain-delay", 60) as (server, status):
        wait_until(lambda: status.health() == 200, "health")
        server.signal(signal.SIGTERM)
        wait_until(lambda: status.health() == 503, "the end of health")
        assert connect(server).get("/").status == 200
        [companion] = set(server.workers()) - {row["pid"] for row in status.facts()["workers"]}
        os.kill(companion, signal.SIGSTOP)  # it cannot leave, and is killed
        began = time.monotonic()
        server.signal(signal.SIGTERM)  # a second time: now
        assert server.wait() == 0
        assert time.monotonic() - began < 10


def test_drain_delay_ends_by_itself(start):
    server = start("httpd.py", "--drain-delay", 1)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert 0.9 < time.monotonic() - began < 10


def test_status_at_a_unix_socket_which_is_removed_at_the_end(tmp_path, start):
    path = tmp_path / "status.sock"
    server = start("httpd.py", "--status", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        client = Client(sock)
        assert client.get("/health").status in (200, 503)
        client.close()
    server.stop()
    assert not path.exists()


@pytest.mark.parametrize("value", ["", "unix:", "localhost", "localhost:x", "99999", "1.2.3.4:99999", ":80"])
def test_bad_address_of_the_status_is_one_line(value):
    command = python_command("httpd.py", "--port", 0, "--status", value)
    run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1 and "--status" in run.stderr

"""One client's requests do not stop the others, and nobody who is waiting is dropped when the server ends."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Client, running_servers, wait_until

APPLICATION = """
import os, time

count = 0

def application(environ, start_response):
    global count
    count += 1
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.02)
    if environ["PATH_INFO"] == "/hold":
        open("holding", "w").close()
        while os.path.exists("holding"):
            time.sleep(0.01)
    body = b"%d" % count
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
# From outside nobody can hit the moment in which a file is to lose its second half.
TRUNCATING = """
import types

def fstat(fd, fstat=os.fstat):
    facts = fstat(fd)
    fields = {name: getattr(facts, name) for name in dir(facts) if name.startswith("st_")}
    return types.SimpleNamespace(**fields | {"st_size": 2 * facts.st_size})

os.fstat = fstat
"""


@pytest.fixture
def start_app(tmp_path):
    (tmp_path / "counting.py").write_text(APPLICATION)
    with running_servers(tmp_path) as servers:
        yield lambda *options: servers(
            [sys.executable, str(ROOT / "async_wsgi.py"), "--port", "0", "counting:application", *options], cwd=tmp_path
        ).wait_started()


def get(path):
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path


def test_pipelined_requests_let_other_clients_in_between(start_app, connect):
    server = start_app()
    greedy, other = connect(server), connect(server)
    greedy.sock.sendall(b"HEAD /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    greedy.sock.recv(1)  # the server has them all
    other.sock.sendall(get(b"/"))
    assert int(other.sock.recv(65536).rpartition(b"\r\n")[2]) < 50


def test_clients_in_the_queue_are_answered_when_the_server_ends(start_app, connect, tmp_path):
    server = start_app()
    holder = connect(server)
    holder.sock.sendall(get(b"/hold"))
    wait_until((tmp_path / "holding").exists, "the worker to be busy")
    waiting = [connect(server) for _ in range(80)]
    for client in waiting:
        client.sock.sendall(get(b"/slow"))
    os.kill(server.process.pid, signal.SIGTERM)
    (tmp_path / "holding").unlink()
    for client in waiting:
        assert client.sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(10) == 0


def test_connection_lives_on_for_a_moment_when_its_answer_outlasts_the_end(start, connect, tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(20_000_000))
    server = start("httpd.py", "--root", str(tmp_path))
    client = connect(server, receive_buffer=65536)
    client.sock.sendall(get(b"/large.bin"))
    client.sock.recv(1)
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(server), "the end to begin")
    answer = b"H" + client.sock.recv(1000)
    left = 20_000_000 - len(answer.partition(b"\r\n\r\n")[2])
    assert b"\r\nConnection: keep-alive\r\n" in answer  # so the client may send another request
    while left:
        left -= len(client.sock.recv(left))
    client.sock.sendall(get(b"/"))
    answer = client.sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert server.process.wait(10) == 0


def test_request_that_came_in_time_is_answered_however_busy_the_server_was(start_app, connect, tmp_path):
    server = start_app()
    holder, other = connect(server), connect(server)
    assert holder.get("/").status == other.get("/").status == 200
    server.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(server), "the end to begin")
    holder.sock.sendall(get(b"/hold"))
    wait_until((tmp_path / "holding").exists, "the worker to be busy")
    other.sock.sendall(get(b"/"))
    time.sleep(1.5)  # longer than an idle connection lives on, and than it takes to notice
    (tmp_path / "holding").unlink()
    assert holder.read_answer().status == other.read_answer().status == 200
    assert server.process.wait(10) == 0


def stop(worker):
    """Have *worker* find at its next turn everything that clients do until it is told to continue."""
    wait_until(lambda: state_of(worker) == "S", "the worker to wait for events")
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: state_of(worker) == "T", "the worker to be stopped")


def test_answer_to_a_post_does_not_wait_for_a_neighbour(start_app, connect, tmp_path):
    server = start_app()
    (worker,) = server.workers()
    posting, holder = connect(server), connect(server)
    assert posting.get("/").status == holder.get("/").status == 200
    stop(worker)
    posting.sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    holder.sock.sendall(get(b"/hold"))
    os.kill(worker, signal.SIGCONT)  # it finds both in one turn, in the order in which they came
    assert posting.read_answer().status == 200
    wait_until((tmp_path / "holding").exists, "the worker to be busy")
    (tmp_path / "holding").unlink()
    assert holder.read_answer().status == 200


def test_who_waits_to_be_let_in_comes_before_who_is_served_already(start_app, connect):
    server = start_app()
    (worker,) = server.workers()
    served = connect(server)
    assert served.get("/").status == 200
    stop(worker)
    newcomers = [connect(server) for _ in range(4)]
    for client in newcomers:
        client.sock.sendall(get(b"/slow"))
    served.sock.sendall(get(b"/"))
    os.kill(worker, signal.SIGCONT)
    order = [int(client.read_answer().body) for client in [*newcomers, served]]
    assert order == [2, 3, 4, 5, 6]


def test_answer_of_a_newcomer_does_not_wait_for_the_next_ones(start_app, connect, tmp_path):
    server = start_app()
    (worker,) = server.workers()
    stop(worker)
    first, holder = connect(server), connect(server)
    first.sock.sendall(get(b"/slow"))
    holder.sock.sendall(get(b"/hold"))
    os.kill(worker, signal.SIGCONT)
    assert first.read_answer().status == 200
    wait_until((tmp_path / "holding").exists, "the worker to be busy")
    (tmp_path / "holding").unlink()
    assert holder.read_answer().status == 200


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_refused(server):
    try:
        socket.create_connection((server.host, server.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_answer_cut_off_behind_one_of_a_thread_leaves_the_worker_alive(start_app, connect, tmp_path):
    with (tmp_path / "counting.py").open("a") as application:
        application.write(TRUNCATING)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "short").write_text("ten bytes\n")
    server = start_app("--threads", "1", "--static", f"/s={tmp_path / 'files'}")
    client: Client = connect(server)
    client.sock.sendall(get(b"/") + get(b"/s/short"))
    answer = b""
    while piece := client.sock.recv(65536):
        answer += piece
    assert answer.count(b"HTTP/1.1 200 ") == 1  # the other was found too short before its head had left
    again = connect(server)
    again.sock.sendall(get(b"/"))
    assert again.sock.recv(65536).endswith(b"2")  # the same process counts on

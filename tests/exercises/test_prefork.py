"""Checks for the exercises of docs/prefork.md."""

import json
import os
import signal

from conftest import wait_until


def ask(connect, server, target):
    """Return the answer to a client that has not been here before."""
    client = connect(server)
    try:
        return client.get(target, "Connection: close")
    finally:
        client.close()


def test_pid(solution, connect):
    server = solution("-r", "www", "-w", "2")
    wait_until(lambda: len(server.workers()) == 2, "start of two workers")
    first = ask(connect, server, "/pid")
    assert first.status == 200
    assert int(first.body) in server.workers(), "GET /pid does not name a worker: is it the master's id?"
    os.kill(int(first.body), signal.SIGKILL)
    wait_until(lambda: int(first.body) not in server.workers() and len(server.workers()) == 2, "its replacement")
    assert int(ask(connect, server, "/pid").body) in server.workers(), "GET /pid does not name a living worker"
    assert ask(connect, server, "/").status == 200, "GET / still serves the site"


def test_status(solution, connect):
    server = solution("-r", "www", "-w", "3")
    wait_until(lambda: len(server.workers()) == 3, "start of three workers")
    assert ask(connect, server, "/status").status == 200
    for _ in range(20):
        assert ask(connect, server, "/").status == 200

    def status():
        return json.loads(ask(connect, server, "/status").body)

    assert sorted(worker["pid"] for worker in status()) == sorted(server.workers())
    # Each worker tells of itself once a second.
    wait_until(lambda: sum(worker["requests"] for worker in status()) >= 20, "counting of all workers' requests", 5)
    killed = status()[0]["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in [worker["pid"] for worker in status()], "forgetting of a dead worker", 5)


def test_reload(solution, connect, tmp_path):
    motd = tmp_path / "motd.txt"
    motd.write_text("Monday\n")
    server = solution("-r", tmp_path)
    assert ask(connect, server, "/motd").status == 200
    motd.write_text("Tuesday\n")
    assert ask(connect, server, "/motd").body == b"Monday\n", (
        "the message is read when a worker boots, not before each answer"
    )
    server.signal(signal.SIGHUP)
    wait_until(lambda: ask(connect, server, "/motd").body == b"Tuesday\n", "new message after HUP")
    wait_until(lambda: server.log_path.read_text().count("takes the place of") == 1, "end of the reload")
    motd.unlink()
    server.may_complain = True
    server.signal(signal.SIGHUP)
    wait_until(lambda: "the old ones stay" in server.log_path.read_text(), "failure of a worker that finds no message")
    assert ask(connect, server, "/motd").body == b"Tuesday\n"

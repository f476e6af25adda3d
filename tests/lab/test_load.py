"""ApacheBench, as the autograder runs it, and the queue that a hundred clients need."""

import signal
import socket
from contextlib import ExitStack

import pytest

from .clients import ApacheBench, check, curl
from .server import HOST, wait_until
from .site import FILES

CHECKED = "handout, 'How it is checked'"


@pytest.mark.parametrize("options", [(), ("-k",)], ids=["without -k", "with -k"])
def test_ab_sees_no_failed_request(httpd, ab_requests, options):
    run = ApacheBench(httpd, "/page.html", ab_requests, *options)
    size = ab_requests * len(FILES["page.html"])
    check(
        run.complete == ab_requests and run.failed == 0 and run.not_2xx == 0 and run.body_bytes >= size,
        sent=f"`{run.command}`",
        got=run,
        expected=f"{ab_requests} complete, 0 failed, 0 answers other than 2xx, {size:,} bytes of bodies",
        rule=f"{CHECKED}: ab -n 50000 -c 100, with and without -k",
        cause=cause_of_failed_load(httpd, run),
    )


def cause_of_failed_load(httpd, run):
    alone = curl(httpd, "/page.html")
    if alone.likely_cause or alone.status != 200:
        return alone.likely_cause or "a single curl fails too, so load is not the reason; look there first"
    if "had not finished" in run.text and run.lines_printed >= run.finished > 0:
        return f"prints per request: {run.lines_printed:,} lines meanwhile; that costs more than serving"
    if "reset by peer" in run.text or "timeout" in run.text or run.longest_connect >= 1000:
        return "listen(5) under load: the queue of waiting connections is full; listen(1024)"
    return "a single curl is served, so it is the number of clients: a short send(), or an exception that ends the loop"


def test_hundred_clients_fit_into_the_listen_queue(httpd):
    """Hold the server still, so that what connects now waits in the queue it asked for with listen()."""
    httpd.signal_group(signal.SIGSTOP)
    try:
        connected = connected_clients(httpd, 100, seconds=2)
    finally:
        httpd.signal_group(signal.SIGCONT)
    check(
        connected == 100,
        sent="100 connections at once, while the server was held still",
        got=f"only {connected} connections",
        expected="100, so that `ab -c 100` never has to wait a second and try again",
        rule="handout, 'What is wrong': listen(5) overflows under ab -c 100",
        cause=f"the number given to listen(), about {connected - 1}; asyncore's own example says listen(5)",
    )


def connected_clients(server, count, seconds):
    """Begin *count* connections at once and return how many were made within *seconds*."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex((HOST, server.port))
        wait_until(lambda: all(map(is_connected, clients)), seconds)
        return sum(map(is_connected, clients))


def is_connected(client):
    try:
        client.getpeername()
    except OSError:
        return False
    return True

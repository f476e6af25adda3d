"""ApacheBench, as the autograder runs it, and the queue that a hundred clients need."""

import signal

import pytest

from . import causes
from .clients import ApacheBench, Named, check, connected_clients
from .messages import say
from .site import FILES

rule = pytest.mark.rule


@rule("load")
@pytest.mark.parametrize("options", [(), ("-k",)], ids=["without -k", "with -k"])
def test_ab_sees_no_failed_request(httpd, ab_requests, options):
    """How fast it is does not matter: ab stops after some seconds."""
    run = ApacheBench(httpd, "/page.html", ab_requests, *options)
    size = run.complete * len(FILES["page.html"])
    check(
        run.complete >= run.clients and run.failed == 0 and run.not_2xx == 0 and run.body_bytes >= size,
        sent=f"`{run.command}`",
        got=run,
        expected=say(
            "{count} or more complete, 0 failed, 0 answers other than 2xx, the whole page each time", count=run.clients
        ),
        cause=lambda: causes.of_failed_load(httpd),
    )


@rule("queue")
def test_hundred_clients_fit_into_the_listen_queue(httpd):
    """Hold the server still, so that what connects now waits in the queue it asked for with listen()."""
    httpd.signal_group(signal.SIGSTOP)
    try:
        connected = connected_clients(httpd, 100, seconds=0.7)  # before the kernel tries the second time
    finally:
        httpd.signal_group(signal.SIGCONT)
    check(
        connected == 100,
        sent=say("100 connections at once, while the server was held still"),
        got=say("connections made: {count}", count=connected),
        expected=say("100, so that `ab -c 100` never has to wait a second and try again"),
        cause=lambda: Named("short-queue", {"count": connected - 1}),
    )

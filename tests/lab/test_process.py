"""Starting, working and stopping: the workers, their one socket, what they print, and what is left afterwards."""

import os
import re
import signal

import pytest

from . import causes
from .clients import check, exchange
from .conftest import WORKERS
from .messages import say
from .server import STOP, StartFailure, wait_until

rule = pytest.mark.rule
# Beside the workers: their parent, and what multiprocessing may start to look after what they share.
OTHERS = 2


@rule("workers")
def test_workers_share_one_listening_socket(own_httpd, httpd_command):
    answers = answers_of_all_workers(own_httpd)
    unanswered = [answer for answer in answers if answer.status != 200]
    alive = len(own_httpd.processes())
    bound_twice = "Address already in use" in own_httpd.output.last_lines(500)
    check(
        WORKERS <= alive <= WORKERS + OTHERS and not unanswered and not bound_twice,
        sent=say(
            "GET /page.html to a server started with -w {workers}, times: {count}", workers=WORKERS, count=len(answers)
        ),
        got=say(
            "answers with 200: {count}; living processes: {alive}", count=len(answers) - len(unanswered), alive=alive
        )
        + (say("; the server printed 'Address already in use'") if bound_twice else ""),
        expected=say("200 each time, and as many workers as -w says, beside a parent"),
        cause=lambda: cause_of_count(own_httpd, alive, bound_twice, httpd_command(workers=2)),
    )


def answers_of_all_workers(server):
    """Give the workers time to start, and use them: what is to come happens to a server at work."""
    wait_until(lambda: len(server.processes()) > WORKERS, 0.7)
    return answers_until_one_is_wrong(server, 5 * WORKERS)


def answers_until_one_is_wrong(server, count):
    """Ask *count* times for a page, but not again after an answer that is not 200: each may cost seconds."""
    answers = []
    while len(answers) < count and all(answer.status == 200 for answer in answers[-1:]):
        answers.append(exchange(server, "/page.html", "Connection: close"))
    return answers


def cause_of_count(server, alive, bound_twice, other):
    """Why there are so many processes *alive*; *other* is the same server, started with 2 workers."""
    if bound_twice:
        return "socket-not-shared"
    try:
        other.start()
        answers_of_all_workers(other)
        alive_of_two = len(other.processes())
    except StartFailure:
        return None
    finally:
        other.stop()
    if alive == alive_of_two == 1:
        return "target-called" if is_in_the_traceback(server, r"target\s*=\s*[\w.]+\(") else "workers-ignored"
    return "workers-doubled" if alive >= 2 * WORKERS and 4 <= alive_of_two < 2 * WORKERS else None


def is_in_the_traceback(server, pattern):
    """Return whether *pattern* is in what *server* prints when it is interrupted."""
    server.signal_group(signal.SIGINT)
    return wait_until(lambda: re.search(pattern, server.output.last_lines(500)), 1)


@rule("output")
def test_printing_does_not_stop_the_server_when_nobody_reads_it(own_httpd):
    """A line of log for each request is no flood: a pipe of the usual size holds some hundred of them."""
    with own_httpd.output.unread():
        answers = answers_until_one_is_wrong(own_httpd, 60)
    check(
        answers[-1].status == 200,
        sent=say(
            "GET /page.html again and again, {count} times, while nobody read what the server prints",
            count=len(answers),
        ),
        got=say("{answer} for the last", answer=answers[-1]),
        expected=say("200 each time: whoever starts a server need not read what it prints"),
        cause=lambda: "output-blocks" if answers[-1].waited and causes.serves(own_httpd) else None,
    )


@rule("stop")
def test_ctrl_c_ends_every_process(own_httpd):
    check_answered(own_httpd)
    own_httpd.signal_group(signal.SIGINT)  # a terminal sends it to the whole group
    check_ended(own_httpd, say("SIGINT (Ctrl-C) to all processes of the server"))


@rule("stop")
def test_sigterm_to_the_parent_ends_every_process(own_httpd):
    check_answered(own_httpd)
    os.kill(own_httpd.process.pid, signal.SIGTERM)
    check_ended(own_httpd, say("SIGTERM to the process that was started"))


def check_answered(server):
    """Check that the server is at work: one that has done nothing has nothing to stop either."""
    answers = answers_of_all_workers(server)
    check(
        answers[0].status is not None,
        sent=say("GET /page.html, before stopping the server"),
        got=answers[0],
        expected=say("any answer: only a server at work can show how it stops"),
    )


def check_ended(server, sent):
    patience = server.patience(**STOP)
    patience.wait_until(server.has_ended)
    left = len(server.processes())
    check(
        left == 0,
        sent=sent,
        got=say("processes left {when}: {count}", count=left, when=patience),
        expected=say("no process left, so that the next start finds the port free"),
        cause=lambda: "orphans" if left and server.process.poll() is not None else None,
    )


@rule("restart")
def test_server_starts_again_at_once_on_the_same_port(own_httpd, httpd_command):
    check_answered(own_httpd)
    port, failure = own_httpd.port, None
    own_httpd.stop()
    try:
        own_httpd.start(port)
    except StartFailure as error:
        failure = error
    taken = own_httpd.output and "Address already in use" in own_httpd.output.last_lines(500)
    check(
        failure is None,
        sent=say("the same command with the same port {port}, as soon as the server had ended", port=port),
        got=failure,
        expected=say("a server that listens on the port of --port"),
        cause=lambda: "no-reuse-addr" if taken and starts(httpd_command()) else None,
    )


def starts(server):
    """Return whether *server* starts on a port of its own."""
    try:
        server.start()
    except StartFailure:
        return False
    finally:
        server.stop()
    return True

"""Starting, working and stopping: the workers, their one socket, what they print, and what is left afterwards."""

import os
import signal

from .clients import check, curl
from .conftest import WORKERS
from .server import PIPE_SIZE, STOP_PATIENCE, port_is_free, wait_until


def test_workers_share_one_listening_socket(own_httpd):
    answers = answers_of_all_workers(own_httpd)
    unanswered = [answer for answer in answers if answer.status != 200]
    alive = len(own_httpd.processes())
    bound_twice = "Address already in use" in own_httpd.output.last_lines(500)
    check(
        alive >= WORKERS and not unanswered and not bound_twice,
        sent=f"{len(answers)} times GET /page.html to a server started with {WORKERS} workers",
        got=f"{len(answers) - len(unanswered)} answers with 200; {alive} processes are alive"
        + (", and the server printed 'Address already in use'" if bound_twice else ""),
        expected=f"only 200s, and {WORKERS} living workers",
        rule="handout, command line: -w; and 'What is wrong': the socket must be made once and shared",
        cause="socket not shared: every worker binds the port itself, so all but one fail; bind and listen before fork"
        if bound_twice
        else "",
    )


def answers_of_all_workers(server):
    """Give the workers time to start, and use them: what is to come happens to a server at work."""
    wait_until(lambda: len(server.processes()) >= WORKERS, 2)
    return answers_until_one_is_wrong(server, 5 * WORKERS)


def answers_until_one_is_wrong(server, count):
    """Ask *count* times for a page, but not again after an answer that is not 200: each may cost 5 seconds."""
    answers = []
    while len(answers) < count and all(answer.status == 200 for answer in answers[-1:]):
        answers.append(curl(server, "/page.html"))
    return answers


def test_printing_does_not_stop_the_server_when_nobody_reads_it(own_httpd):
    count = PIPE_SIZE // 20
    before = curl(own_httpd, "/page.html")
    with own_httpd.output.unread():
        answers = answers_until_one_is_wrong(own_httpd, count) if before.status == 200 else [before]
    goes_on = before.status == 200 and curl(own_httpd, "/page.html").status == 200
    check(
        answers[-1].status == 200,
        sent=f"GET /page.html {len(answers)} times, while nobody read what the server prints",
        got=f"{answers[-1]} for the last",
        expected=f"200 each time: {count} requests must not fill a pipe of {PIPE_SIZE} bytes",
        rule="handout, command line: --log, --logfile; whoever starts a server need not read what it prints",
        cause="prints per request: it stood still until its output was read, and then went on; use log.debug()"
        if goes_on
        else "",
    )


def test_ctrl_c_ends_every_process_and_frees_the_port(own_httpd):
    check_answered(own_httpd)
    own_httpd.signal_group(signal.SIGINT)  # a terminal sends it to the whole group
    check_ended(own_httpd, "SIGINT (Ctrl-C) to all processes of the server")


def test_sigterm_to_the_parent_ends_every_process_and_frees_the_port(own_httpd):
    check_answered(own_httpd)
    os.kill(own_httpd.process.pid, signal.SIGTERM)
    check_ended(own_httpd, "SIGTERM to the process that was started")


def check_answered(server):
    """Check that the server is at work: one that has done nothing has nothing to stop either."""
    answers = answers_of_all_workers(server)
    check(
        answers[0].status is not None,
        sent="GET /page.html, before stopping the server",
        got=answers[0],
        expected="any answer: only a server at work can show how it stops",
        rule="handout, 'How it is checked'",
    )


def check_ended(server, sent):
    wait_until(server.has_ended, STOP_PATIENCE)
    left, free = len(server.processes()), port_is_free(server.port)
    check(
        left == 0 and free,
        sent=sent,
        got=f"{left} processes left after {STOP_PATIENCE:g} s, and the port is {'free' if free else 'still taken'}",
        expected="no process left and the port free, so that the next start finds it free",
        rule="an autograder starts many servers, one after the other",
        cause="the parent ends without its workers; pass the signal on to them and wait for them" if left else "",
    )

"""Starting and stopping: the workers, their one socket, and what is left afterwards."""

import os
import signal

from .clients import check, curl
from .conftest import WORKERS
from .server import STOP_PATIENCE, port_is_free, wait_until


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
    return [curl(server, "/page.html") for _ in range(5 * WORKERS)]


def test_ctrl_c_ends_every_process_and_frees_the_port(own_httpd):
    answers_of_all_workers(own_httpd)
    own_httpd.signal_group(signal.SIGINT)  # a terminal sends it to the whole group
    check_ended(own_httpd, "SIGINT (Ctrl-C) to all processes of the server")


def test_sigterm_to_the_parent_ends_every_process_and_frees_the_port(own_httpd):
    answers_of_all_workers(own_httpd)
    os.kill(own_httpd.process.pid, signal.SIGTERM)
    check_ended(own_httpd, "SIGTERM to the process that was started")


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

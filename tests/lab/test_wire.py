"""Connections, byte for byte: what only a raw socket can send and see."""

import socket
import struct
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest

from . import causes
from .causes import is_served
from .clients import Connection, check, curl, request
from .messages import say
from .site import FILES, LARGE

rule = pytest.mark.rule
INDEX = FILES["dir/index.html"]
# What is wrong with a file's bytes is for test_files.py to say. Here a request is answered if curl gets the same.
# More clients than workers, so that each worker gets one that blocks it, if anything can block it.
MANY = 20


# How long a connection lives


@rule("keep-alive")
def test_kept_connection_answers_the_next_request(httpd, not_offered):
    with Connection(httpd) as client:
        client.send(request())
        first = client.read()
        if not (first.note or first.keeps_open):
            not_offered("the answer says that the connection ends")
        client.send(request("/dir/"))
        second = client.read()
    check(
        is_served(httpd, first, "/page.html") and is_served(httpd, second, "/dir/"),
        sent=say("GET /page.html as HTTP/1.1, then GET /dir/ on the same connection"),
        got=first.with_field("Connection") + say(", then ") + str(second),
        expected=say("both answered, or 'Connection: close' in the first answer"),
        cause=lambda: causes.of_second_answer(httpd, first, second),
    )


@rule("keep-alive")
def test_http_1_0_keep_alive_as_ab_asks_for_it(httpd, not_offered):
    fields = "/page.html", "Connection: Keep-Alive", "User-Agent: ApacheBench/2.3", "Accept: */*"
    with Connection(httpd) as client:
        client.send(request(*fields, version="HTTP/1.0"))
        first = client.read()
        if not first.note and "keep-alive" not in first.connection:
            not_offered("the answer does not say 'Connection: keep-alive'")
        client.send(request(*fields, version="HTTP/1.0"))
        second = client.read()
    check(
        is_served(httpd, first, "/page.html") and is_served(httpd, second, "/page.html"),
        sent=say("GET /page.html as HTTP/1.0 with 'Connection: Keep-Alive' twice on one connection, as `ab -k` does"),
        got=first.with_field("Connection") + say(", then ") + str(second),
        expected=say("both answered with 'Connection: keep-alive' and a Content-Length, or no promise"),
        cause=lambda: causes.of_second_answer(httpd, first, second),
    )


@rule("pipelining")
def test_two_pipelined_requests_are_answered_in_order(httpd, not_offered):
    with Connection(httpd) as client:
        client.send(request() + request("/dir/"))
        first = client.read()
        if not (first.note or first.keeps_open):
            not_offered("the answer says that the connection ends")
        second = client.read()
    check(
        is_served(httpd, first, "/page.html") and is_served(httpd, second, "/dir/"),
        sent=say("GET /page.html and GET /dir/ in one packet"),
        got=str(first) + say(", then ") + f"{second}: {second.body[:60]!r}",
        expected=say("both answered, the page first"),
        cause=lambda: causes.of_pipelining(httpd, first, second),
    )


def check_ends(server, *fields, version="HTTP/1.1", cause):
    with Connection(server) as client:
        client.send(request("/page.html", *fields, version=version))
        answer = client.read()
        ended = client.ends()
    check(
        is_served(server, answer, "/page.html") and ended,
        sent=f"GET /page.html {version}" + "".join(f", {field!r}" for field in fields),
        got=str(answer)
        + say(", then ")
        + (say("the end of the connection") if ended else say("no end of the connection")),
        expected=say("the page, then the end of the connection"),
        cause=cause,
    )


@rule("close")
def test_connection_close_is_respected(httpd):
    check_ends(httpd, "Connection: close", cause=lambda: causes.of_kept_connection(httpd, "Connection: close"))


@rule("close")
def test_field_names_and_connection_options_are_read_in_any_case(httpd):
    check_ends(httpd, "CONNECTION: Close", cause=lambda: causes.of_ignored_spelling(httpd))


@rule("close")
def test_http_1_0_connection_ends_with_the_answer(httpd):
    check_ends(httpd, version="HTTP/1.0", cause=lambda: causes.of_kept_connection(httpd, version="HTTP/1.0"))


# How a request arrives


@rule("split")
def test_request_split_over_several_packets_is_answered(httpd):
    target = "/dir1/dir12/dir123/deep.txt"
    whole = request(target, "Connection: close")
    # In the middle of the method, the target, a field, and of the empty line at the end.
    cuts = [0, 2, 12, 45, len(whole) - 3, len(whole) - 1, len(whole)]
    with Connection(httpd) as client:
        for start, stop in pairwise(cuts):
            client.send(whole[start:stop])
            time.sleep(0.02)  # no waiting for anything: this client is that slow, and packets stay apart
        answer = client.read()
    check(
        is_served(httpd, answer, target),
        sent=say("one GET in six packets"),
        got=answer,
        expected=say("200 with the file, as for one packet"),
        cause=lambda: causes.of_split_request(httpd, target),
    )


@rule("body")
def test_body_of_a_post_is_not_taken_for_a_request(httpd):
    body = request("/dir/")
    with Connection(httpd) as client:
        client.send(request("/page.html", f"Content-Length: {len(body)}", method="POST") + body)
        client.send(request("/page.html", "Connection: close"))
        answers = [client.read()]
        while client.received:
            answers.append(client.read())
    inside = any(INDEX in answer.body for answer in answers)
    check(
        answers[0].status is not None and not inside,
        sent=say("POST /page.html whose body (as long as its Content-Length says) looks like GET /dir/"),
        got=say(", then ").join(map(str, answers)),
        expected=say("one answer to the POST, and the body never answered as a request"),
        cause=lambda: "body-parsed" if inside else causes.of_refused_method(httpd, answers[0]),
    )


@rule("malformed")
def test_malformed_request_is_400(httpd):
    with Connection(httpd) as client:
        client.send(b"NONSENSE\r\n\r\n")
        answer = client.read()
    check(
        answer.status == 400,
        sent=r"'NONSENSE\r\n\r\n'",
        got=answer,
        expected="400 Bad Request",
        cause=lambda: causes.of_malformed(httpd, answer),
    )


@rule("head")
def test_head_has_no_body(httpd):
    with Connection(httpd) as client:
        client.send(request("/page.html", "Connection: close", method="HEAD"))
        answer = client.read("HEAD")
        body = client.rest()
    check(
        answer.status == 200 and not body,
        sent="HEAD /page.html",
        got=say("{answer}, followed by {count} bytes", answer=answer, count=len(body)),
        expected=say("200 and only the head that GET would have"),
        cause=lambda: causes.of_body_on_head(httpd, body),
    )


# Clients that behave badly


def check_next_client(server, answer, *, sent, cause):
    """Check that *answer*, what an ordinary client has got, is one."""
    ok = answer.status == 200 and not answer.note
    check(ok, sent=sent, got=answer, expected=say("200 for the GET of the next client"), cause=cause)


@rule("clients-that-leave")
def test_newline_then_close_does_no_harm(httpd):
    processes = len(httpd.processes())
    for _ in range(MANY):
        with Connection(httpd) as client:
            client.send(b"\n")
    check_next_client(
        httpd,
        curl(httpd, "/page.html"),
        sent=say(r"'\n' and closed the connection, {count} times; then GET /page.html", count=MANY),
        cause=lambda: causes.of_harm_by_leaving(httpd, processes),
    )


@rule("clients-that-leave")
def test_reset_in_the_middle_of_an_answer_does_no_harm(httpd):
    reset_on_close = struct.pack("ii", 1, 0)
    processes = len(httpd.processes())
    for _ in range(MANY):
        with Connection(httpd, receive_buffer=4096) as client:
            client.send(request(f"/{LARGE}"))
            client.receive()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
        if client.waited:  # and not if a worker has ended with it: there are others
            break
    answer = curl(httpd, "/page.html")
    check_next_client(
        httpd,
        answer,
        sent=say(
            "{count} times GET /{file} and a reset in the middle of the answer; then GET /page.html",
            count=MANY,
            file=LARGE,
        ),
        cause=lambda: causes.of_harm_by_leaving(httpd, processes),
    )


@rule("silent-clients")
def test_silent_clients_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            if clients.enter_context(Connection(httpd)).note:
                break  # this one waits for the others already
        answer = curl(httpd, "/page.html")
    check_next_client(
        httpd,
        answer,
        sent=say("nothing on {count} open connections, then GET /page.html on another", count=MANY),
        cause=lambda: causes.of_waiting(httpd, "blocking-read"),
    )


@rule("half-requests")
def test_half_sent_requests_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            client = clients.enter_context(Connection(httpd))
            client.send(request()[:20])
            if client.note:
                break
        answer = curl(httpd, "/page.html")
    check_next_client(
        httpd,
        answer,
        sent=say(
            "the first 20 bytes of a GET on {count} connections, then a whole GET /page.html on another", count=MANY
        ),
        cause=lambda: causes.of_waiting(httpd, "blocking-read"),
    )


@rule("slow-readers")
def test_slow_readers_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            client = clients.enter_context(Connection(httpd, receive_buffer=4096))
            client.send(request(f"/{LARGE}"))
            if not client.receive():
                break  # this one waits for the others already
        answer = curl(httpd, "/page.html")
        computing = answer.status is None and httpd.is_computing()
    check_next_client(
        httpd,
        answer,
        sent=say(
            "GET /{file} on {count} connections that read only a little, then GET /page.html on another",
            file=LARGE,
            count=MANY,
        ),
        cause=lambda: (
            causes.of_late_first_byte(httpd, None) if computing else causes.of_waiting(httpd, "blocking-write")
        ),
    )


@rule("large")
def test_slow_reader_gets_the_large_file_byte_for_byte(httpd):
    with Connection(httpd, receive_buffer=65536) as client:
        client.send(request(f"/{LARGE}", "Connection: close"))
        client.receive()
        curl(httpd, "/page.html")  # meanwhile the buffers fill, and the server's next send() is short
        answer = client.read()
        received = answer.body + client.rest()
    check(
        received == FILES[LARGE],
        sent=say("GET /{file} by a client that pauses while another one gets /page.html", file=LARGE),
        got=f"{answer}, {causes.first_difference(received, FILES[LARGE])}",
        expected=say("every byte of the file, once and in order"),
        cause=lambda: causes.of_wrong_large_file(httpd, answer, received),
    )

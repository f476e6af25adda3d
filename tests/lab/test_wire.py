"""Connections, byte for byte: what only a raw socket can send and see."""

import socket
import struct
import time
from contextlib import ExitStack
from itertools import pairwise

from .clients import PATIENCE, Connection, check, curl
from .site import FILES, LARGE
from .test_files import cause_of_wrong_large_file, first_difference, serves

CHECKED = "handout, 'How it is checked'"
PAGE = FILES["page.html"]
# More clients than workers, so that each worker gets one that blocks it, if anything can block it.
MANY = 20


def request(target="/page.html", *fields, method="GET", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {target} {version}", "Host: localhost", *fields, "", ""]).encode()


def is_page(answer):
    return answer.status == 200 and answer.body == PAGE


def check_next_client(server, *, sent, rule, cause):
    """Check that an ordinary client is still served."""
    answer = curl(server, "/page.html")
    check(
        is_page(answer),
        sent=sent,
        got=answer,
        expected="200 for the GET of the next client",
        rule=rule,
        cause=answer.likely_cause
        if "Empty reply" in answer.note  # this client, too, was accepted: nobody kept it waiting
        else f"{cause} (if test_file_is_served passes; else look there first)",
    )


# How long a connection lives


def test_http_1_1_connection_is_kept_open(httpd):
    with Connection(httpd) as client:
        client.send(request())
        first = client.read()
        client.send(request("/dir/"))
        second = client.read()
    check(
        is_page(first) and second.status == 200 and second.body == FILES["dir/index.html"],
        sent="GET /page.html as HTTP/1.1, then GET /dir/ on the same connection",
        got=f"{first}, then {second}",
        expected="both answered: HTTP/1.1 connections stay open unless one side says 'Connection: close'",
        rule="RFC 9112 section 9.3",
        cause=first.likely_cause or ("" if first.field("Content-Length") else "keep-alive needs a Content-Length"),
    )


def test_connection_close_is_respected(httpd):
    with Connection(httpd) as client:
        client.send(request("/page.html", "Connection: close"))
        answer, ended = client.read(), client.ends()
    check(
        is_page(answer) and ended,
        sent="GET /page.html with 'Connection: close'",
        got=f"{answer}, and the server {'closed' if ended else f'kept the connection open for {PATIENCE:g} s'}",
        expected="the page, then the end of the connection",
        rule="RFC 9112 section 9.6",
        cause="" if ended else "close_when_done() is not called, or only when the socket closes by itself",
    )


def test_field_names_and_connection_options_are_read_in_any_case(httpd):
    with Connection(httpd) as client:
        client.send(request("/page.html", "CONNECTION: Close"))
        answer, ended = client.read(), client.ends()
    check(
        is_page(answer) and ended,
        sent="GET /page.html with 'CONNECTION: Close'",
        got=f"{answer}, and the server {'closed' if ended else f'kept the connection open for {PATIENCE:g} s'}",
        expected="the page, then the end of the connection, as for 'Connection: close'",
        rule="field names have no case: RFC 9110 section 5.1; nor have connection options: section 7.6.1",
        cause="" if ended else "header case: fields are kept in a dict under the spelling the client used",
    )


def test_http_1_0_connection_ends_with_the_answer(httpd):
    with Connection(httpd) as client:
        client.send(request(version="HTTP/1.0"))
        answer, ended = client.read(), client.ends()
    check(
        is_page(answer) and ended,
        sent="GET /page.html as HTTP/1.0 (as ab does)",
        got=f"{answer}, and the server {'closed' if ended else f'kept the connection open for {PATIENCE:g} s'}",
        expected="the page, then the end of the connection",
        rule=f"{CHECKED}: ab speaks HTTP/1.0; RFC 9112 section 9.3",
        cause="" if ended else "keep-alive is taken for granted although the client speaks HTTP/1.0",
    )


def test_http_1_0_keep_alive_as_ab_asks_for_it(httpd):
    fields = "/page.html", "Connection: Keep-Alive", "User-Agent: ApacheBench/2.3", "Accept: */*"
    with Connection(httpd) as client:
        client.send(request(*fields, version="HTTP/1.0"))
        first = client.read()
        client.send(request(*fields, version="HTTP/1.0"))
        second = client.read()
    said = first.field("Connection")
    check(
        is_page(first) and is_page(second) and "keep-alive" in said.lower(),
        sent="GET /page.html as HTTP/1.0 with 'Connection: Keep-Alive' twice on one connection, as `ab -k` does",
        got=f"{first} with Connection {said!r}, then {second}",
        expected="both answered with 'Connection: keep-alive' and a Content-Length",
        rule=f"{CHECKED}: ab with -k; RFC 9112 section 9.3",
        cause=first.likely_cause or ("" if first.field("Content-Length") else "keep-alive needs a Content-Length"),
    )


def test_two_pipelined_requests_are_answered_in_order(httpd):
    with Connection(httpd) as client:
        client.send(request() + request("/dir/"))
        first, second = client.read(), client.read()
    check(
        is_page(first) and second.status == 200 and second.body == FILES["dir/index.html"],
        sent="GET /page.html and GET /dir/ in one packet",
        got=f"{first}, then {second}",
        expected="both answered, the page first",
        rule="RFC 9112 section 9.3.2",
        cause=first.likely_cause
        or ("" if "closed" in second.note else "what was received after the first request is thrown away with it"),
    )


# How a request arrives


def test_request_split_over_several_packets_is_answered(httpd):
    whole = request("/dir1/dir12/dir123/deep.txt")
    # In the middle of the method, the target, a field, and of the empty line at the end.
    cuts = [0, 2, 12, 45, len(whole) - 3, len(whole) - 1, len(whole)]
    with Connection(httpd) as client:
        for start, stop in pairwise(cuts):
            client.send(whole[start:stop])
            time.sleep(0.02)  # no waiting for anything: this client is that slow, and packets stay apart
        answer = client.read()
    check(
        answer.status == 200 and answer.body == FILES["dir1/dir12/dir123/deep.txt"],
        sent="one GET in six packets",
        got=answer,
        expected="200 with the file, as for one packet",
        rule="TCP is a stream of bytes: RFC 9112 section 2.2; handout, Part 1: the terminator is CR LF CR LF",
        cause="one recv() is taken for one request" if serves(httpd) else answer.likely_cause,
    )


def test_body_of_a_post_is_not_taken_for_a_request(httpd):
    body = request("/dir/")
    with Connection(httpd) as client:
        client.send(request("/page.html", f"Content-Length: {len(body)}", method="POST") + body)
        client.send(request("/page.html", "Connection: close"))
        answers = [client.read()]
        while client.received:
            answers.append(client.read())
    inside = [answer for answer in answers if FILES["dir/index.html"] in answer.body]
    check(
        answers[0].status is not None and not inside,
        sent="POST /page.html whose body (as long as its Content-Length says) looks like GET /dir/",
        got=", then ".join(map(str, answers)),
        expected="one answer to the POST, and the body never answered as a request",
        rule="handout, Part 1: POST with a body -> read Content-Length more bytes; RFC 9112 section 6.3",
        cause="the body stays in the buffer and is parsed as the next request" if inside else "",
    )


def test_malformed_request_is_400(httpd):
    with Connection(httpd) as client:
        client.send(b"NONSENSE\r\n\r\n")
        answer = client.read()
    check(
        answer.status == 400,
        sent=r"'NONSENSE\r\n\r\n'",
        got=answer,
        expected="400 Bad Request",
        rule="handout, Part 1: malformed -> 400 Bad Request",
        cause="the request line is unpacked into three names without asking whether it has three parts"
        if (answer.status == 500 or not answer.status_line) and serves(httpd)
        else "",
    )


def test_head_has_no_body(httpd):
    with Connection(httpd) as client:
        client.send(request("/page.html", "Connection: close", method="HEAD"))
        answer = client.read("HEAD")
        client.ends()
    check(
        answer.status == 200 and not client.received,
        sent="HEAD /page.html",
        got=f"{answer}, followed by {len(client.received)} bytes",
        expected="200 and only the head that GET would have",
        rule=f"{CHECKED}: HEAD; RFC 9110 section 9.3.2",
        cause="body on HEAD: do_HEAD sends the file like do_GET; stop after end_headers()" if client.received else "",
    )


# Clients that behave badly


def test_newline_then_close_does_no_harm(httpd):
    for _ in range(MANY):
        with Connection(httpd) as client:
            client.send(b"\n")
    check_next_client(
        httpd,
        sent=rf"'\n' and closed the connection, {MANY} times; then GET /page.html",
        rule="a client that leaves is normal; handout, 'What is wrong': callbacks that raise kill the server",
        cause="an exception for the empty or unfinished request ends the server; see its output",
    )


def test_reset_in_the_middle_of_an_answer_does_no_harm(httpd):
    reset_on_close = struct.pack("ii", 1, 0)
    for _ in range(MANY):
        with Connection(httpd, receive_buffer=4096) as client:
            client.send(request(f"/{LARGE}"))
            client.receive(time.monotonic() + PATIENCE)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
    check_next_client(
        httpd,
        sent=f"{MANY} times GET /{LARGE} and a reset in the middle of the answer; then GET /page.html",
        rule="handout, 'What is wrong': callbacks that write to a closed connection or after a reset kill the server",
        cause="ConnectionResetError or BrokenPipeError is not caught and ends the server",
    )


def test_silent_clients_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            clients.enter_context(Connection(httpd))
        check_next_client(
            httpd,
            sent=f"nothing on {MANY} open connections, then GET /page.html on another",
            rule="handout, Part 0 model 6 and Part 1: one process serves all clients at once",
            cause="blocking read in the loop: recv() waits for a client that says nothing, and all others wait with it",
        )


def test_half_sent_requests_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            clients.enter_context(Connection(httpd)).send(request()[:20])
        check_next_client(
            httpd,
            sent=f"the first 20 bytes of a GET on {MANY} connections, then a whole GET /page.html on another",
            rule="handout, Part 1: collect_incoming_data until the terminator, other channels meanwhile",
            cause="blocking read in the loop: it reads until the request is whole, and all others wait with it",
        )


def test_slow_readers_do_not_stop_the_next(httpd):
    with ExitStack() as clients:
        for _ in range(MANY):
            client = clients.enter_context(Connection(httpd, receive_buffer=4096))
            client.send(request(f"/{LARGE}"))
            client.receive(time.monotonic() + PATIENCE)
        check_next_client(
            httpd,
            sent=f"GET /{LARGE} on {MANY} connections that read only a little, then GET /page.html on another",
            rule=f"{CHECKED}: a large file whole; handout, Part 1: more() is asked only when the socket can take more",
            cause="blocking write in the loop: sendall() waits for a client that does not read",
        )


def test_slow_reader_gets_the_large_file_byte_for_byte(httpd):
    with Connection(httpd, receive_buffer=65536) as client:
        client.send(request(f"/{LARGE}", "Connection: close"))
        client.receive(time.monotonic() + PATIENCE)
        other = curl(httpd, "/page.html")  # meanwhile the buffers fill, and the server's next send() is short
        answer = client.read()
        client.ends()
    received = answer.body + client.received
    check(
        received == FILES[LARGE] and is_page(other),
        sent=f"GET /{LARGE} by a client that pauses while another one gets /page.html",
        got=f"{answer}, {first_difference(received, FILES[LARGE])}; the other client: {other}",
        expected=f"every byte of the {len(FILES[LARGE]):,}, once and in order",
        rule=f"{CHECKED}: a large file whole and byte for byte; handout, wrong: a partial send() sends all again",
        cause=cause_of_wrong_large_file(received, FILES[LARGE]),
    )

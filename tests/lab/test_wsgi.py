"""The WSGI server with the smallest application: `my_app:application` of the folder pytest was started in."""

import requests

from .clients import Connection, ask, check, curl

PART_2 = "handout, Part 2: my_app.application answers 200, text/plain, 'Hello World'"
HELLO = b"Hello World"


def test_wsgi_application_answers_hello_world(wsgi):
    answer = curl(wsgi, "/")
    check(
        answer.status == 200 and answer.body == HELLO and not answer.note,
        sent="GET /",
        got=f"{answer}: {answer.body[:40]!r}",
        expected="200 and 'Hello World'",
        rule=PART_2,
        cause="the pieces that the application returns are not joined, or sent as str(b'...')"
        if b"Hello World" in answer.body
        else "",
    )


def test_wsgi_content_type_is_the_applications(wsgi):
    answer = curl(wsgi, "/")
    field = answer.field("Content-Type")
    check(
        field.partition(";")[0] == "text/plain",
        sent="GET /",
        got=f"{answer} with Content-Type {field!r}",
        expected="Content-Type: text/plain, as the application passed it to start_response",
        rule=PART_2,
        cause="start_response keeps the status and loses the headers" if answer.status == 200 else "",
    )


def test_wsgi_application_is_asked_for_every_path_and_query(wsgi):
    answer = curl(wsgi, "/some/where?name=value")
    check(
        answer.status == 200 and answer.body == HELLO,
        sent="GET /some/where?name=value",
        got=answer,
        expected="200 and 'Hello World': the application decides, not the file system",
        rule=PART_2 + "; PEP 3333",
        cause="handle_request still looks for a file" if answer.status == 404 else "",
    )


def test_wsgi_post_reaches_the_application(wsgi):
    answer = ask(wsgi, "POST", "/", data=b"some=body")
    check(
        answer.status == 200 and answer.body == HELLO,
        sent="POST / with a body of 9 bytes",
        got=answer,
        expected="200 and 'Hello World'",
        rule=PART_2 + "; Part 1: POST with a body -> read Content-Length more bytes",
        cause="handle_request still looks for do_POST, not for the application" if answer.status == 405 else "",
    )


def test_wsgi_head_has_no_body(wsgi):
    with Connection(wsgi) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = client.read("HEAD")
        client.ends()
    check(
        answer.status == 200 and not client.received,
        sent="HEAD /",
        got=f"{answer}, followed by {len(client.received)} bytes",
        expected="200 and only the head, although the application returns a body as for GET",
        rule="RFC 9110 section 9.3.2",
        cause="body on HEAD: finish_response sends what the application returned" if client.received else "",
    )


def test_wsgi_several_requests_of_one_client_are_answered(wsgi):
    with requests.Session() as session:
        session.trust_env = False
        answers = [ask(wsgi, "GET", "/", session=session) for _ in range(3)]
    wrong = [answer for answer in answers if answer.status != 200 or answer.body != HELLO]
    check(
        not wrong,
        sent="GET / three times by one client, which keeps its connection where the server allows",
        got=", then ".join(map(str, answers)),
        expected="200 and 'Hello World' each time",
        rule=PART_2 + "; RFC 9112 section 9.3",
        cause="something of the request before is not reset" if answers[0].status == 200 else "",
    )

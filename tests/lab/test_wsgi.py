"""The WSGI server with the smallest application: `my_app:application` of the folder pytest was started in."""

from contextlib import ExitStack

import pytest

from . import causes
from .clients import Connection, check, curl, exchange, request
from .messages import say

rule = pytest.mark.rule
HELLO = b"Hello World"


def is_hello(answer):
    return answer.status == 200 and answer.body == HELLO and not answer.note


@rule("wsgi-hello")
def test_wsgi_application_answers_hello_world(wsgi):
    """Asked as a browser asks: without a word about the connection."""
    answer = exchange(wsgi, "/")
    check(
        is_hello(answer),
        sent="GET /",
        got=f"{answer}: {answer.body[:40]!r}",
        expected=say("200 and {text!r}", text="Hello World"),
        cause=lambda: causes.of_wrong_body(wsgi, answer),
    )


@rule("wsgi-headers")
def test_wsgi_content_type_is_the_applications(wsgi):
    answer = curl(wsgi, "/")
    field = answer.field("Content-Type")
    check(
        field.partition(";")[0] == "text/plain",
        sent="GET /",
        got=answer.with_field("Content-Type"),
        expected=say("Content-Type: text/plain, as the application passed it to start_response"),
        cause=lambda: "wsgi-headers-lost" if answer.status == 200 else None,
    )


@rule("wsgi-paths")
def test_wsgi_application_is_asked_for_every_path_and_query(wsgi):
    answer = curl(wsgi, "/some/where?name=value")
    check(
        answer.status == 200 and answer.body == HELLO,
        sent="GET /some/where?name=value",
        got=answer,
        expected=say("200 and 'Hello World': the application decides, not the file system"),
        cause=lambda: cause_unless_asked(wsgi, answer, 404, "wsgi-looks-for-file"),
    )


def cause_unless_asked(server, answer, status, key):
    if answer.status == status and is_hello(curl(server, "/")):
        return key
    return causes.of_wrong_body(server, answer)


@rule("wsgi-post")
def test_wsgi_post_reaches_the_application(wsgi):
    answer = curl(wsgi, "/", "--data", "some=body")
    check(
        answer.status == 200 and answer.body == HELLO,
        sent=say("{sent} with a body of 9 bytes", sent="POST /"),
        got=answer,
        expected=say("200 and {text!r}", text="Hello World"),
        cause=lambda: cause_unless_asked(wsgi, answer, 405, "wsgi-looks-for-method"),
    )


@rule("wsgi-head")
def test_wsgi_head_has_no_body(wsgi):
    with Connection(wsgi) as client:
        client.send(request("/", "Connection: close", method="HEAD"))
        answer = client.read("HEAD")
        body = client.rest()
    check(
        answer.status == 200 and not body,
        sent="HEAD /",
        got=say("{answer}, followed by {count} bytes", answer=answer, count=len(body)),
        expected=say("200 and only the head, although the application returns a body as for GET"),
        cause=lambda: "body-on-head" if HELLO in body else None,
    )


@rule("wsgi-again")
def test_wsgi_several_requests_of_one_client_are_answered(wsgi):
    """Kept or not: a client that keeps its connection where the server allows gets all its answers."""
    answers = []
    with ExitStack() as connections:
        client = None
        while len(answers) < 3 and all(map(is_hello, answers)):
            if not (client and answers[-1].keeps_open):
                client = connections.enter_context(Connection(wsgi))
            client.send(request("/"))
            answers.append(client.read())
    check(
        all(map(is_hello, answers)),
        sent=say("GET / three times by one client, which keeps its connection where the server allows"),
        got=say(", then ").join(map(str, answers)),
        expected=say("200 and 'Hello World' each time"),
        cause=lambda: causes.of_wrong_body(wsgi, answers[-1]),
    )

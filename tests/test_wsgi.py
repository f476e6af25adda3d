"""PEP 3333 in all points, over sockets, once with the application in the loop and once in threads."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import apps
import pytest
from conftest import PATIENCE, python_command, running_servers, wait_until

TESTS = Path(__file__).parent
MIB = 1024 * 1024


class Events:
    """What the applications noted, found by the query of the request (see apps.py)."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def of(self, tag):
        lines = [line.rpartition(" ") for line in self.path.read_text().splitlines()]
        return [event for event, _, query in lines if query == tag]

    def add(self, event, tag):
        with self.path.open("a") as file:
            file.write(f"{event} {tag}\n")


@pytest.fixture(scope="module")
def big_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "big"
    path.write_bytes(b"".join(b"%015d\n" % number for number in range(0, 3_000_000, 16)))
    return path


@pytest.fixture(scope="module", params=["loop", "threads"])
def server(request, tmp_path_factory, big_file):
    folder = tmp_path_factory.mktemp(request.param)
    events = Events(folder / "events")
    command = python_command("async_wsgi.py", "--port", 0, "apps:application")
    if request.param == "threads":
        command += ["--threads", "4"]
    environment = {**os.environ, "EVENTS": str(events.path), "FILE": str(big_file), "HTTP_PROXY": ""}
    with running_servers(folder) as run:
        server = run(command, cwd=TESTS, env=environment).wait_started()
        server.may_complain = True
        server.events, server.threaded = events, request.param == "threads"
        yield server


@pytest.fixture
def client(server, connect):
    return connect(server)


@pytest.fixture
def log(server, connect):
    """Return a function that gives what the server has logged during this test, as text."""

    def mark():
        """Have the application write a line to wsgi.errors; return the number of lines before it."""
        line = f"mark {time.monotonic_ns()}"
        connect(server).get("/mark?" + line.replace(" ", "%20"))
        return wait_until(lambda: line in server.log_lines(), line) and server.log_lines().index(line)

    def text():
        stop = mark()
        return "\n".join(server.log_lines()[start:stop])

    start = mark()
    return text


@pytest.fixture
def tag(request):
    """A query by which the events of this test are found."""
    return str(abs(hash(request.node.nodeid)))


def post(client, target, body, *lines):
    client.send("\r\n".join([f"POST {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1") + body)
    return client.read_answer()


def length(body):
    return f"Content-Length: {len(body)}"


def target(name):
    """Return *name*, that of a case, as it stands in a path."""
    return name.replace(" ", "%20")


def assert_usable(client):
    """The connection answers the next request rightly: the answer before was framed as it was said."""
    assert client.is_silent()
    assert client.get("/hello").body == b"hello"


# environ


def facts(client, *request, **options):
    """Return the environ that the application gets, as {name: value}."""
    return {name: value for name, (_, value) in json.loads(client.get(*request, **options).body).items()}


def test_environ_is_that_of_the_request(server, client):
    found = facts(client, "/environment/a%20b;c?d=%20&e", "Accept: text/html", "X-Two: 1", "x-two: 2")
    assert found["REQUEST_METHOD"] == "GET"
    assert found["SCRIPT_NAME"] == ""
    assert found["PATH_INFO"] == "/environment/a b;c"
    assert found["QUERY_STRING"] == "d=%20&e"
    assert found["SERVER_NAME"] == "127.0.0.1"
    assert found["SERVER_PORT"] == str(server.port)
    assert found["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["REMOTE_PORT"] == str(client.sock.getsockname()[1])
    assert found["HTTP_HOST"] == "a"
    assert found["HTTP_ACCEPT"] == "text/html"
    assert found["HTTP_X_TWO"] == "1, 2"
    assert "CONTENT_LENGTH" not in found and "CONTENT_TYPE" not in found
    assert found["wsgi.version"] == "(1, 0)"
    assert found["wsgi.url_scheme"] == "http"
    assert found["wsgi.multithread"] is server.threaded
    assert found["wsgi.multiprocess"] is False
    assert found["wsgi.run_once"] is False
    assert found["wsgi.input_terminated"] is True


def test_environ_variables_are_native_strings(client):
    found = json.loads(client.get("/environment?a", "Cookie: a=b", "Cookie: c=d", "X-Latin: \xe9\xff").body)
    assert {kind for name, (kind, _) in found.items() if name.isupper()} == {"str"}
    assert found["HTTP_COOKIE"][1] == "a=b; c=d"
    assert found["HTTP_X_LATIN"][1] == "\xe9\xff"


def test_target_is_there_as_it_came(client):
    client.send(b"GET /environment/a%2Fb%20c//d/..?e=%2F&f HTTP/1.1\r\nHost: a\r\n\r\n")
    found = json.loads(client.read_answer().body)
    assert found["REQUEST_URI"] == found["RAW_URI"] == ["str", "/environment/a%2Fb%20c//d/..?e=%2F&f"]
    found = facts(client, "http://other/environment/%2F?x")
    assert (found["RAW_URI"], found["HTTP_HOST"]) == ("/environment/%2F?x", "other")


@pytest.mark.parametrize(
    ("sent", "path", "query"),
    [
        ("/environment/%e2%98%83?%zz", "/environment/\xe2\x98\x83", "%zz"),
        ("/environment/%ff%00%0d%0a", "/environment/\xff\0\r\n", ""),
        ("/environment//x/../y", "/environment//x/../y", ""),
        ("/environment/%2e%2e/%2Fx", "/environment/..//x", ""),
        ("/environment/%2541", "/environment/%41", ""),
        ("/environment?a?b=%26", "/environment", "a?b=%26"),
        ("http://other/environment/x?y", "/environment/x", "y"),
        ("/environment?", "/environment", ""),
    ],
)
def test_path_is_decoded_once_and_the_query_never(client, sent, path, query):
    found = facts(client, sent)
    assert (found["PATH_INFO"], found["QUERY_STRING"]) == (path, query)


def test_authority_of_the_target_is_the_host(client):
    assert facts(client, "http://other:80/environment")["HTTP_HOST"] == "other:80"


def test_two_slashes_at_the_start_stay(client):
    client.send(b"GET //environment HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.read_answer().body == b"hello"  # the empty segment is the first: no such application


def test_no_field_passes_for_another_variable(client):
    found = facts(
        client, "/environment", "Proxy: http://evil:1/", "X_Forwarded_For: 1.1.1.1", "Content_Length: 5",
        "X-Auth_User: root",
    )  # fmt: skip
    strange = {name for name in found if "PROXY" in name or "FORWARDED" in name or "AUTH" in name or "LENGTH" in name}
    assert not strange


def test_nobody_is_believed_about_the_client_by_default(client):
    found = facts(
        client, "/environment", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
        "Forwarded: for=1.1.1.1;proto=https;host=evil",
    )  # fmt: skip
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("127.0.0.1", "http", "a")


def test_http10_without_host(client):
    client.send(b"GET /environment HTTP/1.0\r\n\r\n")
    found = json.loads(client.read_answer().body)
    assert found["SERVER_PROTOCOL"][1] == "HTTP/1.0"
    assert "HTTP_HOST" not in found


def test_content_type_and_length_have_their_own_names(client):
    found = json.loads(post(client, "/environment", b"abc", "Content-Length: 3", "Content-Type: a/b; c=d").body)
    assert found["CONTENT_LENGTH"][1] == "3"
    assert found["CONTENT_TYPE"][1] == "a/b; c=d"
    assert "HTTP_CONTENT_LENGTH" not in found and "HTTP_CONTENT_TYPE" not in found


def test_changed_cookie_is_seen_in_the_next_request_of_the_connection(client):
    targets_and_cookies = [("/environment", "visit=1"), ("/environment", "visit=2"), ("/environment?a", "visit=1")]
    for target, cookie in targets_and_cookies:
        found = json.loads(client.get(target, "Accept: */*", f"Cookie: {cookie}").body)
        assert found["HTTP_COOKIE"][1] == cookie
    assert "HTTP_COOKIE" not in json.loads(client.get("/environment", "Accept: */*").body)


def test_each_request_has_an_environ_of_its_own(client):
    assert client.get("/environ_is_mine").body == b"fresh"
    assert client.get("/environ_is_mine").body == b"fresh"


def test_every_method_reaches_the_application(client):
    for method in ("GET", "DELETE", "OPTIONS", "TRACE", "BREW", "get"):
        assert facts(client, "/environment", method=method)["REQUEST_METHOD"] == method


def test_connect_is_not_for_applications(client):
    client.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert client.read_answer().status == 501


def test_options_of_the_server_never_reach_the_application(client):
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = client.read_answer()
    assert (answer.status, answer.body) == (200, b"")


def test_ipv6_name_of_the_server_has_brackets(start, connect):
    server = start("async_wsgi.py", "--host", "::1", "apps:application", cwd=TESTS)
    found = facts(connect(server), "/environment")
    assert (found["SERVER_NAME"], found["REMOTE_ADDR"]) == ("[::1]", "::1")  # RFC 3875 section 4.1.14


def test_workers_are_said_to_be_several_processes(start, connect):
    server = start("async_wsgi.py", "-w", 2, "--threads", 1, "apps:application", cwd=TESTS)
    found = facts(connect(server), "/environment")
    assert found["wsgi.multiprocess"] is True
    assert found["wsgi.multithread"] is False  # one thread: never two calls at a time


# wsgi.input

BODY = b"one\ntwo\nthree"


@pytest.mark.parametrize("method", [name for name in apps.READERS if name not in ("closed", "facts", "none")])
def test_input_reads_like_a_file_that_ends_with_the_body(client, method):
    answer = post(client, f"/reader/{target(method)}", BODY, length(BODY))
    assert answer.body == repr(apps.READERS[method](io.BytesIO(BODY))).encode()
    assert_usable(client)


def pack(way, content):
    """Return *content* as apps.UNPACKERS[way] takes it."""
    packed = io.BytesIO()
    if way in ("gzip", "bz2", "lzma"):
        return getattr(apps, way).compress(content)
    if way == "tar":
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("member")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    elif way == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("member", content)
    elif way == "wave":
        with apps.wave.open(packed, "wb") as sound:
            sound.setparams((1, 1, 8000, 0, "NONE", "not compressed"))
            sound.writeframes(content)
    else:
        return b"A: b\n\n" + content if way == "multipart" else content
    return packed.getvalue()


@pytest.mark.parametrize("size", [9, 600_000], ids=["in memory", "on disk"])
@pytest.mark.parametrize("way", apps.UNPACKERS)
def test_libraries_read_the_input_as_a_file(client, way, size):
    content = os.urandom(size)  # which does not become shorter
    if way == "multipart":
        content = content.hex().encode()
    body = pack(way, content)
    assert post(client, f"/unpack/{way}", body, length(body)).body == content
    assert_usable(client)


@pytest.mark.parametrize("size", [9, 600_000], ids=["in memory", "on disk"])
def test_input_says_the_same_of_itself_at_any_size(client, size):
    body = bytes(size)
    assert post(client, "/reader/facts", body, length(body)).body == b"[False, True, True, False]"


@pytest.mark.parametrize("method", ["closed", "none", "read 4"])
def test_what_the_application_leaves_of_a_body_is_not_the_next_request(client, method):
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 3
    assert post(client, f"/reader/{target(method)}", smuggled, length(smuggled)).status == 200
    assert_usable(client)


@pytest.mark.parametrize("method", [name for name in apps.READERS if name not in ("closed", "none")])
def test_input_of_a_request_without_body_is_empty(client, method):
    assert client.get(f"/reader/{target(method)}").status == (500 if method == "mixed" else 200)
    assert_usable(client)


def test_content_length_of_an_empty_body_is_zero(client):
    assert post(client, "/echo", b"12345", "Content-Length: 5").fields["x-length"] == "5"
    answer = post(client, "/echo", b"", "Content-Length: 0")
    assert (answer.status, answer.fields.get("x-length"), answer.body) == (200, "0", b"")
    assert client.get("/echo").fields["x-length"] == "none"


def test_chunked_body_has_its_true_length(client):
    body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nContent-Length: 3\r\n\r\n"
    found = json.loads(post(client, "/environment", body, "Transfer-Encoding: chunked").body)
    assert found["CONTENT_LENGTH"][1] == "11"
    assert "HTTP_TRANSFER_ENCODING" not in found
    answer = post(client, "/echo", body, "Transfer-Encoding: chunked")
    assert (answer.body, answer.fields["x-length"]) == (b"hello world", "11")
    answer = post(client, "/echo", b"0\r\n\r\n", "Transfer-Encoding: chunked")
    assert (answer.body, answer.fields["x-length"]) == (b"", "0")
    assert_usable(client)


@pytest.mark.parametrize("chunked", [False, True])
def test_upload_above_the_spool_limit_arrives_byte_for_byte(client, chunked):
    body = os.urandom(3_000_000)
    sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:1_999_999], body[1_999_999:]))
    if chunked:
        answer = post(client, "/digest", sent + b"0\r\n\r\n", "Transfer-Encoding: chunked")
    else:
        answer = post(client, "/digest", body, length(body))
    assert answer.body.decode() == f"3000000 {hashlib.sha256(body).hexdigest()} 3000000"
    assert_usable(client)


def test_large_echo(client):
    body = os.urandom(2_000_000)
    client.sock.settimeout(PATIENCE)
    assert post(client, "/echo", body, length(body)).body == body


def test_slow_upload_reaches_the_application_when_it_is_complete(server, client, tag, connect):
    client.send(f"POST /echo?{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode())
    for _ in range(9):
        client.send(b"x" * 100)
        assert connect(server).get("/hello").body == b"hello"  # the server has had its turn
        assert server.events.of(tag) == []
    client.send(b"x" * 100)
    assert client.read_answer().body == b"x" * 1000
    assert server.events.of(tag) == ["called"]


@pytest.mark.parametrize(
    "request_part",
    ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
     "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"],
)  # fmt: skip
def test_truncated_body_never_reaches_the_application(server, client, tag, request_part):
    client.send(f"POST /echo?{tag} HTTP/1.1\r\nHost: a\r\n{request_part}".encode())
    client.half_close()
    assert b" 200 " not in client.read_rest()
    assert server.events.of(tag) == []


def test_expecting_client_is_told_to_go_on_once(client):
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_answer().status == 100
    client.send(b"hello")
    assert client.read_answer().body == b"hello"
    assert_usable(client)


# start_response


@pytest.mark.parametrize("mistake", apps.STARTS)
def test_wrong_call_of_start_response_is_500(client, log, mistake):
    answer = client.get(f"/wrong_start/{target(mistake)}")
    assert answer.status == 500
    assert "x" not in answer.fields and "z" not in answer.fields
    assert_usable(client)
    assert log().count("Traceback") == 1 and "start_response" in log()


def test_value_that_is_no_string_is_named(client, log):
    assert client.get(f"/wrong_start/{target('value as list')}").status == 500
    assert "not a field of two strings: 'X': ['y']" in log()


@pytest.mark.parametrize("start", apps.ACCEPTED)
def test_what_every_server_takes_is_taken(client, start):
    answer = client.get(f"/accepted_start/{target(start)}")
    status, fields = apps.ACCEPTED[start]
    assert (answer.status, answer.body) == (int(status[:3]), b"hello")
    assert answer.fields["content-length"] == "5"
    assert not answer.fields.keys() & {"keep-alive", "transfer-encoding", "te", "upgrade"}
    for name, value in fields() if callable(fields) else fields if not isinstance(fields, dict) else ():
        if name in ("X", "Proxy-Authenticate", "Proxy-Authorization"):
            assert answer.fields[name.lower()] == value.strip()
    assert_usable(client)


def test_dropped_fields_are_named_once(server, client):
    """One worker and many answers: the log has one line for each name."""
    for _ in range(3):
        client.get("/accepted_start/Connection")
        client.get("/accepted_start/Upgrade")
    for name in ("connection", "upgrade"):
        line = wait_until(lambda name=name: [line for line in server.log_lines() if f"{name} is dropped" in line], name)
        assert len(line) == 1


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close"])
def test_application_can_close_the_connection(client, value):
    client.send(f"GET /connection_close/{target(value)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"], answer.body) == (200, "close", b"hello")
    assert client.read_rest() == b""


def test_second_call_without_exc_info_is_500(client, log):
    assert client.get("/two_starts").status == 500
    assert_usable(client)
    assert "start_response() called a second time" in log()


@pytest.mark.parametrize("body", ["empty", "full"])
def test_forgotten_start_response_is_500(server, client, log, tag, body):
    assert client.get(f"/no_start/{body}?{tag}").status == 500
    assert_usable(client)
    assert "did not call start_response()" in log()
    assert server.events.of(tag) == ["closed"]


def test_exc_info_replaces_status_and_all_fields_before_the_head_has_left(client):
    answer = client.get("/replaced_start")
    assert (answer.status, answer.body) == (503, b"sorry, later")
    assert "x-first" not in answer.fields and answer.fields["x-second"] == "2"
    assert "content-length" not in answer.fields
    assert_usable(client)


def test_exc_info_is_raised_after_the_head_has_left(server, client, log, tag):
    client.send(f"GET /late_start?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    rest = client.read_rest()
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"5\r\nfirst\r\n")
    assert rest.count(b"HTTP/1.1") == 1
    wait_until(lambda: server.events.of(tag) == ["raised LookupError"], "the application's exception")
    assert "too late" in log()


def test_an_empty_write_sends_no_head(client):
    answer = client.get("/writes_nothing_first")
    assert (answer.status, answer.body) == (500, b"replaced")


def test_status_and_fields_arrive_as_they_were_given(client):
    client.send(b"GET /fields HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, body = client.read_rest().partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert (status, body) == (b"HTTP/1.1 299 Odd but fine", b"hello")
    for line in [b"X-A: 1", b"x-a: 2", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"X-Latin: \xe9\x80", b"X-Empty: "]:
        assert lines.count(line) == 1
    # The application's own Date and Server take the place of ours.
    assert [line for line in lines if line.startswith((b"Date", b"Server"))] == [
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT", b"Server: mine",
    ]  # fmt: skip


def test_start_response_may_wait_for_the_first_piece(client):
    assert client.get("/start_with_first_piece").body == b"ab"


# The body.


def test_length_is_added_when_it_is_known(client):
    assert client.get("/one_piece").fields["content-length"] == "5"
    assert client.get("/nothing").fields["content-length"] == "0"
    assert client.get("/one_piece", method="HEAD").fields["content-length"] == "5"


def test_unknown_length_is_chunked_or_until_close(server, client, connect):
    answer = client.get("/pieces")
    assert answer.body == b"onetwothree"
    assert answer.fields["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.fields
    assert client.get("/one_of_generator").body == b"hello"
    assert_usable(client)
    answer = client.get("/pieces", "Connection: keep-alive", version="1.0")
    assert answer.body == b"onetwothree"
    assert answer.fields["connection"] == "close" and "transfer-encoding" not in answer.fields


@pytest.mark.parametrize(("name", "body"), [("writes", b"one two three"), ("pieces", b"onetwothree")])
def test_close_is_called_once_at_the_end(server, client, tag, name, body):
    assert client.get(f"/{name}?{tag}").body == body
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]


@pytest.mark.parametrize("name", ["pieces", "writes", "nothing", "status/404%20Not%20Found", "infinite", "file/whole"])
def test_head_has_no_body_and_closes_the_iterable(server, client, tag, name):
    answer = client.get(f"/{name}?{tag}", method="HEAD")
    assert answer.status in (200, 404)
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]


def test_head_of_an_empty_answer_says_nothing_of_the_length(client):
    assert "content-length" not in client.get("/nothing", method="HEAD").fields


def test_write_in_close_puts_nothing_behind_the_end(server, client, tag, log):
    assert client.get(f"/writes_in_close?{tag}").body == b"hello"
    assert_usable(client)
    wait_until(lambda: server.events.of(tag) == ["closed"], "the close()")
    assert f'"GET /writes_in_close?{tag}": close() failed' in log()


def test_write_between_pieces_keeps_the_order(client):
    assert client.get("/writes_between_pieces").body == b"one two and four and "
    assert_usable(client)


def test_write_of_an_earlier_request_reaches_nobody(client):
    assert client.get("/writes_for_the_request_before").body == b"hello"
    assert client.get("/writes_for_the_request_before").status == 500
    assert client.is_silent()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_status_without_body_stays_without(server, client, tag, log, status):
    answer = client.get(f"/status/{target(status)}?{tag}")
    assert answer.status == int(status[:3])
    assert answer.fields["etag"] == '"x"'
    assert "content-length" not in answer.fields and "transfer-encoding" not in answer.fields
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]
    assert log().count("body cut off") == 1


def test_each_piece_leaves_before_the_next_is_asked_for(server, client, tag):
    for name in ("stepwise", "stepwise_writes"):
        client.send(f"GET /{name}?{name}{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while client.reader.readline() != b"\r\n":
            pass
        assert client.reader.read(10) == b"5\r\nfirst\r\n"
        server.events.add("go", name + tag)
        assert client.read_chunks() == b"second"


def test_many_tiny_pieces(client):
    begin = time.monotonic()
    assert client.get("/tiny_pieces/20000").body == b"".join(b"%d\n" % number for number in range(20000))
    assert time.monotonic() - begin < 10


def test_pipelined_requests_are_answered_in_order(client):
    client.send(
        b"GET /one_piece HTTP/1.1\r\nHost: a\r\n\r\nGET /pieces HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiHEAD /pieces HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert [client.read_answer().body for _ in range(3)] == [b"hello", b"onetwothree", b"hi"]
    assert client.read_answer("HEAD").status == 200
    assert client.read_answer().body == b"hello"


def test_client_that_half_closes_gets_the_whole_answer(client):
    client.send(b"GET /generated HTTP/1.1\r\nHost: a\r\n\r\n")
    client.half_close()
    body = client.read_answer().body
    assert body == b"".join(b"%015d\n" % offset for offset in range(0, 10 * 1024 * 1024, 16))


# More or less than the Content-Length.


@pytest.mark.parametrize("way", ["one", "many", "endless", "write", "file"])
def test_body_ends_at_its_content_length(server, client, tag, log, way):
    answer = client.get(f"/lying/5/{way}?{tag}")
    assert answer.body == b"hello"
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]
    assert log().count("body cut off") == 1


@pytest.mark.parametrize("way", ["one", "many", "write", "file"])
def test_body_shorter_than_its_content_length_is_cut_off(server, client, tag, log, way):
    client.send(f"GET /lying/1000/{way}?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head, _, body = client.read_rest().partition(b"\r\n\r\n")
    assert b"Content-Length: 1000" in head
    assert body.startswith(b"hello world") and len(body) < 1000
    wait_until(lambda: server.events.of(tag) == ["closed"], "the close()")
    assert "cut off" in log()


def test_no_body_at_all_for_a_content_length_is_500(server, client, tag):
    assert client.get(f"/lying/5/none?{tag}").status == 500
    assert_usable(client)
    assert client.get(f"/lying/5/none?head{tag}", method="HEAD").fields["content-length"] == "5"
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]


# wsgi.file_wrapper


@pytest.mark.parametrize("kind", ["whole", "middle", "past", "limited", "readable"])
def test_wrapped_file_is_sent_from_where_it_stands(server, client, tag, big_file, kind):
    content = big_file.read_bytes()
    expected = {"middle": content[1010:], "past": b"", "limited": content[:1000]}.get(kind, content)
    answer = client.get(f"/file/{kind}?{tag}")
    assert answer.body == expected
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]
    if kind != "readable":
        assert answer.fields["content-length"] == str(len(expected))


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_wrapped_file_without_a_size_is_read_to_its_end(client):
    assert b"\nPid:" in client.get("/system_file").body
    assert_usable(client)


def test_wrapped_file_that_is_closed_already_is_500(server, client, tag):
    assert client.get(f"/closed_file?{tag}").status == 500
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]


def test_client_that_leaves_closes_the_wrapped_file(server, connect, tag):
    client = connect(server, receive_buffer=4096)
    client.send(f"GET /file/whole?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    client.sock.recv(1000)
    client.reset()
    wait_until(lambda: server.events.of(tag) == ["closed"], "the close() of the file", 2)


# Errors.


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for name in ("fails_at_once", "fails_after_start", "fails_at_first_piece", "fails_in_len")
        for fault in apps.FAULTS
        if (name, fault) != ("fails_at_first_piece", "StopIteration")  # so an iterator says that it has ended
    ],
)
def test_exception_before_the_first_piece_is_500(server, client, log, tag, name, fault):
    answer = client.get(f"/{name}/{fault}?{tag}")
    assert answer.status == 500
    assert b"secret" not in answer.body and fault.encode() not in answer.body and b"Trace" not in answer.body
    assert_usable(client)
    assert log().count(f'"GET /{name}/{fault}?{tag}" failed') == 1
    assert fault in log()
    assert server.events.of(tag) == (["closed"] if name in ("fails_at_first_piece", "fails_in_len") else [])


@pytest.mark.parametrize("name", ["fails_in_mid_stream", "fails_after_write"])
@pytest.mark.parametrize("fault", [name for name in apps.FAULTS if name != "StopIteration"])
def test_exception_in_mid_stream_cuts_the_connection(server, client, connect, log, tag, name, fault):
    client.send(f"GET /{name}/{fault}?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    rest = client.read_rest()
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.count(b"HTTP/1.1") == 1
    assert b"5\r\nfirst\r\n" in rest and not rest.endswith(b"0\r\n\r\n")
    assert log().count(f'"GET /{name}/{fault}?{tag}" failed') == 1
    assert fault in log()
    assert server.events.of(tag) == (["closed"] if name == "fails_in_mid_stream" else [])
    assert connect(server).get("/hello").status == 200


@pytest.mark.parametrize("fault", ["ValueError", "ConnectionResetError", "OSError"])
@pytest.mark.parametrize("name", ["fails_in_mid_stream", "fails_after_write"])
def test_exception_in_mid_stream_resets_where_the_end_would_pass_for_success(client, name, fault):
    client.send(f"GET /{name}/{fault} HTTP/1.0\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        client.read_rest()


@pytest.mark.parametrize("fault", apps.FAULTS)
def test_exception_in_close_is_only_logged(server, client, log, tag, fault):
    assert client.get(f"/fails_in_close/{fault}?{tag}").body == b"hello"
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]
    assert f'"GET /fails_in_close/{fault}?{tag}": close() failed' in log()


def test_exception_in_iter_is_500(server, client, tag):
    assert client.get(f"/fails_in_iter?{tag}").status == 500
    assert_usable(client)
    assert server.events.of(tag) == ["closed"]


@pytest.mark.parametrize("name", apps.RESULTS)
def test_wrong_result_is_500_and_the_log_names_the_mistake(client, log, name):
    assert client.get(f"/wrong_result/{target(name)}").status == 500
    assert_usable(client)
    assert re.search(rf"TypeError: the application (returned|made) {apps.RESULTS[name][1]}\b", log())


def test_wrong_write_is_500(client, log):
    assert client.get("/wrong_write").status == 500
    assert_usable(client)
    assert "made str" in log()


# The client leaves.


def test_infinite_generator_ends_soon_after_its_client(server, connect, tag):
    client = connect(server)
    client.send(f"GET /infinite?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    client.reader.read(500_000)
    assert server.events.of(tag) == []
    client.close()
    wait_until(lambda: server.events.of(tag) == ["closed"], "the generator's end", 1)
    assert connect(server).get("/hello").status == 200


def test_infinite_generator_ends_with_a_client_that_stopped_reading(server, connect, tag):
    client = connect(server, receive_buffer=4096)
    client.send(f"GET /infinite?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    client.sock.recv(1000)
    client.reset()
    wait_until(lambda: server.events.of(tag) == ["closed"], "the generator's end", 1)


@pytest.mark.parametrize("when", ["first", "after"])
def test_empty_pieces_for_ever_hold_up_nobody_and_end_with_the_client(server, connect, tag, when):
    client = connect(server)
    client.send(f"GET /empty_pieces/{when}?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    if when == "after":
        assert client.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    wait_until(lambda: server.events.of(tag) == ["called"], "the call")
    other = connect(server)
    for _ in range(10):
        assert other.get("/hello").body == b"hello"
    assert server.events.of(tag) == ["called"]
    client.reset()
    wait_until(lambda: server.events.of(tag) == ["called", "closed"], "the generator's end", 2)


def test_infinite_writes_end_soon_after_the_client(server, connect, tag):
    client = connect(server)
    client.send(f"GET /infinite_writes?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    client.reader.readline()
    client.reset()
    server.events.add("go", tag)
    wait_until(lambda: server.events.of(tag) == ["go", "ended"], "the end of the writes", 1)
    assert connect(server).get("/hello").status == 200


def test_pieces_for_a_client_that_left_before_they_were_returned_are_closed(server, connect, tag):
    client = connect(server)
    client.send(f"GET /write_and_pieces?{tag} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    client.reader.readline()
    client.reset()
    server.events.add("go", tag)
    wait_until(lambda: server.events.of(tag) == ["go", "closed"], "the close() of the pieces")
    assert connect(server).get("/hello").status == 200


def test_client_that_leaves_before_the_answer_disturbs_nobody(server, connect, tag):
    for number in range(20):
        client = connect(server)
        client.send(f"GET /pieces?{tag}{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.reset()
    assert connect(server).get("/hello").status == 200
    for number in range(20):
        assert server.events.of(f"{tag}{number}") in ([], ["closed"])


# Under the validator of the standard library, which complains where either side breaks PEP 3333.


@pytest.mark.parametrize("options", [(), ("--threads", 2)], ids=["loop", "threads"])
def test_wsgiref_validate_finds_nothing(start, connect, big_file, tmp_path, options):
    environment = {**os.environ, "EVENTS": str(tmp_path / "events"), "FILE": str(big_file)}
    server = start("async_wsgi.py", "apps:validated", *options, cwd=TESTS, env=environment)
    client = connect(server)
    assert client.get("/hello?a=b").body == b"hello"
    assert client.get("/hello", method="HEAD").status == 200
    assert client.get("/pieces").body == b"onetwothree"
    assert client.get("/writes").body == b"one two three"
    assert post(client, "/digest", b"x" * 600_000, "Content-Length: 600000").body.startswith(b"600000 ")
    assert post(client, "/reader/readlines", BODY, length(BODY)).status == 200
    assert client.get("/start_with_first_piece", version="1.0").body == b"ab"
    abandoned = connect(server)
    abandoned.send(b"GET /infinite?gone HTTP/1.1\r\nHost: a\r\n\r\n")
    abandoned.reader.read(100_000)
    abandoned.close()
    wait_until(lambda: Events(tmp_path / "events").of("gone") == ["closed"], "the generator's end", 2)
    assert not re.search("assert|warning|garbage", "\n".join(server.stop()), re.IGNORECASE)


# Memory.


@pytest.mark.parametrize("options", [(), ("--threads", 4)], ids=["loop", "threads"])
def test_slow_readers_of_a_generated_answer_cost_little_memory(start, connect, options):
    """200 clients ask for 10 MiB each; what they do not take is not made."""
    server = start("async_wsgi.py", "apps:application", *options, cwd=TESTS)
    assert connect(server).get("/hello").status == 200
    (worker,) = server.workers()
    begin = memory(worker)
    clients = [connect(server, receive_buffer=16384) for _ in range(200)]
    for client in clients:
        client.send(b"GET /generated HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    most = 0
    for _ in range(20):
        for client in clients:
            if not client.is_silent():  # in threads only some are answered at a time
                client.sock.recv(4096)
        most = max(most, memory(worker))
    assert most - begin < 64 * MIB
    for client in clients:
        client.reset()
    wait_until(lambda: connect(server).get("/hello").status == 200, "room in the queue of the threads")
    assert connect(server).get("/generated").body[-16:] == b"%015d\n" % (10 * 1024 * 1024 - 16)


def memory(pid):
    """Return the resident memory of process *pid* in bytes."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


# Files beside the application.


@pytest.fixture(scope="module")
def server_with_files(tmp_path_factory):
    """A server with an application and two folders."""
    folder = tmp_path_factory.mktemp("static")
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "index.html").write_text(f"index of {name}")
    (folder / "secret").write_text("secret")
    options = ["--static", f"/static={folder / 'a'}", "--static", f"/more/files={folder / 'b'}"]
    with running_servers(folder) as run:
        command = python_command("async_wsgi.py", "--port", 0, "apps:application", *options)
        yield run(command, cwd=TESTS).wait_started()


@pytest.fixture
def with_files(server_with_files, connect):
    return connect(server_with_files)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/static/", 200, b"index of a"),
        ("/static/index.html?v=1", 200, b"index of a"),
        ("/more/files/index.html", 200, b"index of b"),
        ("/static/none", 404, None),
        ("/static/../secret", 404, None),
        ("/static/%2e%2e/secret", 404, None),
        ("/static/../hello", 404, None),  # what begins there stays there
        ("/static", 200, b"hello"),  # the rest is the application's
        ("/staticfile", 200, b"hello"),
        ("/more/", 200, b"hello"),
        ("/hello", 200, b"hello"),
    ],
)
def test_static_folders_are_served_as_files(with_files, path, status, body):
    answer = with_files.get(path)
    assert answer.status == status
    assert body is None or answer.body == body
    assert_usable(with_files)


def test_static_files_have_what_files_have(with_files):
    file = with_files.get("/static/index.html")
    assert with_files.get("/static/index.html", f"If-None-Match: {file.fields['etag']}").status == 304
    assert with_files.get("/static/index.html", "Range: bytes=0-4").body == b"index"
    assert with_files.get("/static/index.html", method="HEAD").fields["content-length"] == "10"
    answer = with_files.get("/static/index.html", method="DELETE")
    assert answer.status == 405 and "GET" in answer.fields["allow"]


def test_upload_to_a_static_file_is_refused_before_its_body(with_files):
    with_files.send(b"POST /static/index.html HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    assert with_files.read_answer().status == 405


# What is named on the command line.


@pytest.fixture
def module(tmp_path):
    """The folder of a module `site_of_test` with applications in several places."""
    (tmp_path / "site_of_test.py").write_text(
        "class Site:\n"
        "    def app(environ, start_response):\n"
        "        start_response('200 OK', [])\n"
        "        return [b'found']\n"
        "application = Site.app\n"
        "number = 5\n"
        "def make(name='found', size=1, loud=False):\n"
        "    def made(environ, start_response):\n"
        "        start_response('200 OK', [])\n"
        "        return [(name.upper() if loud else name).encode() * size]\n"
        "    return made\n"
    )
    (tmp_path / "dashes-in-name.py").write_text("from site_of_test import application")
    (tmp_path / "raises.py").write_text("raise ValueError('at import')\n")
    (tmp_path / "misses.py").write_text("import no_such_module_either\n")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "body"),
    [
        ("site_of_test", b"found"),
        ("site_of_test:application", b"found"),
        ("site_of_test:Site.app", b"found"),
        ("site_of_test:make()", b"found"),
        ('site_of_test:make("a(b)", 2, loud=True)', b"A(B)A(B)"),
        ("dashes-in-name:application", b"found"),
    ],
)
def test_application_is_found(start, connect, module, spec, body):
    assert connect(start("async_wsgi.py", spec, cwd=module)).get("/").body == body


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:application", "no module named 'no_such_module'"),
        ("site_of_test:nothing", "has no 'nothing'"),
        ("site_of_test:Site.nothing", "has no 'nothing'"),
        ("site_of_test:number", "is not callable"),
        ("site_of_test:app:app", "not a module:callable"),
        ("site-of-test", "no module named 'site-of-test'"),
        ("site_of_test:Site-app", "not a module:callable"),
        ("site_of_test:make(open('x'))", "not a module:callable"),
        ("site_of_test:make(number)", "not a module:callable"),
        ("site_of_test:make(*[1])", "not a module:callable"),
        ("site_of_test:make(**{'size': 1})", "not a module:callable"),
        ("site_of_test:make(1)(2)", "not a module:callable"),
        ("site_of_test:make(1", "not a module:callable"),
        ("site_of_test:make() or make()", "not a module:callable"),
    ],
)
def test_application_that_is_not_there_is_one_line(module, spec, message):
    status, lines = fail_to_start(module, spec)
    assert status == 2
    assert message in lines[-1] and "Traceback" not in "\n".join(lines)


@pytest.mark.parametrize(("spec", "message"), [("raises", "at import"), ("misses", "no_such_module_either")])
def test_application_that_cannot_be_loaded_shows_its_traceback(module, spec, message):
    status, lines = fail_to_start(module, spec)
    assert status not in (0, 2)
    assert "Traceback (most recent call last):" in lines and message in lines[-1]


def test_threads_that_the_system_refuses_are_one_line_at_the_start(module):
    (module / "greedy.py").write_text("import threading; threading.stack_size(1 << 45); application = print")
    status, lines = fail_to_start(module, "greedy", "--threads", 2)
    assert status == 1
    assert lines == ["async_wsgi.py: --threads 2: can't start new thread"]


def fail_to_start(folder, spec, *options):
    """Return (exit status, lines on stderr) of a server that does not come up."""
    command = python_command("async_wsgi.py", "--port", 0, *options, spec)
    ended = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    return ended.returncode, ended.stderr.splitlines()


def test_fewer_threads_than_asked_for_are_one_line_at_the_start(module):
    """There is room for six threads of the twenty."""
    (module / "greedy.py").write_text(
        "import pathlib, resource, threading\n"
        "threading.stack_size(1 << 30)\n"
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 13 * (1 << 29), resource.RLIM_INFINITY))\n"
        "application = print\n"
    )
    status, lines = fail_to_start(module, "greedy", "--threads", 20)
    assert status == 1
    assert lines == ["async_wsgi.py: --threads 20: can't start new thread"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_longest_static_prefix_wins_in_any_order(tmp_path, start, connect, order):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    folders = [f"/s={tmp_path / 'outer'}", f"/s/b={tmp_path / 'inner'}"]
    options = [word for index in order for word in ("--static", folders[index])]
    server = start("async_wsgi.py", "my_app:application", *options)
    client = connect(server)
    assert client.get("/s/b/x.txt").body == b"inner"
    assert client.get("/s/x.txt").body == b"outer"

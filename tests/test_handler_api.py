"""Every name of the handout exists and does what the handout says; what one knows of http.server works here."""

import doctest
import inspect
import re
import socket
import subprocess
import sys

import pytest
from conftest import PATIENCE, ROOT, Client

import async_wsgi
import httpd
from asynchttpd import http1, ioloop
from asynchttpd.ioloop import asynchat, asyncore

METHODS = [
    "collect_incoming_data", "found_terminator", "parse_request", "parse_headers", "handle_request", "send_header",
    "send_error", "send_response", "end_headers", "date_time_string", "send_head", "translate_path", "do_GET",
    "do_HEAD",
]  # fmt: skip


def parameters(function):
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def test_docstring_examples():
    assert doctest.testmod(httpd).failed == 0


def test_handout_names_of_the_file_server():
    assert issubclass(httpd.AsyncServer, asyncore.dispatcher)
    assert httpd.AsyncHTTPServer is httpd.AsyncServer
    arguments = parameters(httpd.AsyncServer)
    assert (arguments["host"], arguments["port"]) == ("127.0.0.1", 9000)
    assert callable(httpd.AsyncServer.handle_accepted)
    assert callable(httpd.AsyncServer.serve_forever)
    assert issubclass(httpd.AsyncHTTPRequestHandler, asynchat.async_chat)
    for name in METHODS:
        assert callable(getattr(httpd.AsyncHTTPRequestHandler, name)), name
    for name in ("url_normalize", "parse_args", "run"):
        assert callable(getattr(httpd, name)), name
    assert parameters(httpd.FileProducer)["chunk_size"] == 4096
    assert parameters(httpd.AsyncHTTPRequestHandler.send_error)["message"] is None
    assert parameters(httpd.AsyncHTTPRequestHandler.send_response)["message"] is None


@pytest.mark.parametrize("code", [200, 400, 403, 404, 405])
def test_responses_have_a_short_and_a_long_text(code):
    short, long = httpd.AsyncHTTPRequestHandler.responses[code]
    assert short
    assert long


def test_handout_names_of_the_wsgi_server():
    assert issubclass(async_wsgi.AsyncWSGIServer, httpd.AsyncServer)
    assert issubclass(async_wsgi.AsyncWSGIRequestHandler, httpd.AsyncHTTPRequestHandler)
    for name in ("get_environ", "start_response", "handle_request", "finish_response"):
        assert callable(getattr(async_wsgi.AsyncWSGIRequestHandler, name)), name
    arguments = parameters(async_wsgi.AsyncWSGIRequestHandler.start_response)
    assert arguments["exc_info"] is None
    assert {"status", "response_headers"} <= arguments.keys()


def test_application_is_set_and_got():
    channels = ioloop.EventMap()
    server = async_wsgi.AsyncWSGIServer("0.0.0.0", port=0, map=channels)
    try:
        assert server.handler is async_wsgi.AsyncWSGIRequestHandler
        server.set_app(test_application_is_set_and_got)
        assert server.get_app() is test_application_is_set_and_got
        assert server.environ["SERVER_NAME"] == socket.gethostname()  # 0.0.0.0 is no name
    finally:
        channels.close()


def test_options_of_the_handout(tmp_path):
    args = httpd.parse_args([])
    assert (args.port, args.workers, args.root, args.log.lower()) == (9000, 1, ".", "info")
    assert args.host is None  # so 127.0.0.1, unless --bind or --unix or systemd says where else
    args = httpd.parse_args(
        ["--host", "::1", "--port", "1", "--log", "debug", "--logfile", "x", "-w", "3", "-r", str(tmp_path)]
    )
    assert (args.host, args.port, args.log.lower(), args.logfile) == ("::1", 1, "debug", "x")
    assert (args.workers, args.root) == (3, str(tmp_path))


@pytest.mark.parametrize(
    ("path", "normalized"),
    [
        ("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("//a///b", "/a/b"), ("/./a/.", "/a/"), ("/a/..", "/"),
        ("/a/b/../c", "/a/c"), ("/..", "/"), ("/../../etc/passwd", "/etc/passwd"), ("/a/../../b/", "/b/"),
        ("/.well-known/x", "/.well-known/x"), ("/a/.b", "/a/.b"), ("/a..b/...", "/a..b/..."), ("/a/b/..", "/a/"),
    ],
)  # fmt: skip
def test_url_normalize(path, normalized):
    assert httpd.url_normalize(path) == normalized


def test_file_producer_hands_out_a_file_and_ends_with_nothing(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(256)) * 40)
    producer = httpd.FileProducer(path.open("rb"))
    pieces = list(iter(producer.more, b""))
    assert [len(piece) for piece in pieces] == [4096, 4096, 2048]
    assert b"".join(pieces) == path.read_bytes()
    assert producer.more() == b""
    producer.close()
    assert producer.file.closed


def test_file_producer_hands_out_no_more_than_it_was_told(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    producer = httpd.FileProducer(path.open("rb"), 3, 5)
    assert list(iter(producer.more, b"")) == [b"012", b"34"]
    producer.close()


def test_file_that_is_cut_short_while_it_is_sent_aborts_the_answer(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    producer = httpd.FileProducer(path.open("rb", buffering=0), 4, 10)
    assert producer.more() == b"0123"
    with path.open("r+b") as file:
        file.truncate(4)
    with pytest.raises(httpd.Aborted):
        producer.more()
    producer.close()


# A handler by itself: no server, no loop of ours.


class Example(httpd.AsyncHTTPRequestHandler):
    """As one would write it for http.server."""

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/teapot":
            self.send_error(418, "Short and stout")
            return
        if self.path == "/unknown":
            self.send_error(499)
            return
        if self.path == "/last":
            self.close_when_done()
        body = f"{self.command} {self.path} {self.request_version} {self.headers['X-Name']}".encode()
        self.send_response(200, "Fine")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.send_header("X-Got", body.decode())
        self.end_headers()

    def do_DELETE(self):
        self.send_content(204, {})

    def handles(self, method):
        return method == "PROPFIND" or super().handles(method)

    def handle_request(self):
        if self.command == "PROPFIND":
            self.send_content(207, {}, self.rfile.read())
        else:
            super().handle_request()


@pytest.fixture
def turn():
    """Return a function: turn(handler class) gives a Client whose requests a stock asyncore.loop() serves."""
    ours, theirs = socket.socketpair()
    client, channels = Client(theirs), {}  # a plain dict, as asyncore has it

    def start(handler):
        channel = handler(ours, map=channels)

        def ask(data, method="GET"):
            client.send(data)
            for _ in range(1000):
                asyncore.loop(timeout=0.01, map=channels, count=1)
                if not client.is_silent():
                    break
            return client.read_answer(method)

        ask.channel = channel
        return ask

    yield start
    for channel in list(channels.values()):
        channel.close()
    client.close()
    ours.close()


def test_handler_needs_nothing_but_a_socket_and_the_stock_loop(turn):
    ask = turn(Example)
    for number in range(3):
        answer = ask(b"GET /a%d HTTP/1.1\r\nHost: a\r\nX-Name: n\r\n\r\n" % number)
        assert answer.body == b"GET /a%d HTTP/1.1 n" % number
    assert answer.fields["content-type"] == "text/plain"


def test_close_when_done_closes_after_the_answer(turn):
    ask = turn(Example)
    answer = ask(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.fields["connection"]) == (200, "close")


def test_handler_with_one_argument_lands_in_the_default_map():
    ours, theirs = socket.socketpair()
    client, channel = Client(theirs), Example(ours)
    try:
        client.send(b"GET /x HTTP/1.0\r\nX-Name: n\r\n\r\n")
        asyncore.loop(timeout=0.1, count=3)  # the stock loop on our map
        assert client.read_answer().body == b"GET /x HTTP/1.0 n"
    finally:
        channel.close()
        client.close()
        asyncore.socket_map.close()


def test_put_of_a_subclass_works_as_with_http_server(turn):
    answer = turn(Example)(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "PUT")
    assert (answer.status, answer.fields["x-got"]) == (201, "hello")


def test_method_without_a_do_method_is_405_and_says_what_there_is(turn):
    answer = turn(Example)(b"PATCH /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 405
    assert {"GET", "PUT"} <= set(answer.fields["allow"].split(", "))


def test_send_error_answers_in_plain_text_and_closes_nothing_needlessly(turn):
    ask = turn(Example)
    answer = ask(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.fields["content-type"]) == (404, "text/plain")
    assert b"404" in answer.body
    assert ask(b"GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n").status == 418
    assert ask(b"GET /unknown HTTP/1.1\r\nHost: a\r\n\r\n").status == 499


def test_answer_without_content_has_no_length(turn):
    answer = turn(Example)(b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, "content-length" in answer.fields) == (204, False)


def test_methods_that_have_no_do_method_may_have_a_body(turn):
    answer = turn(Example)(b"PROPFIND /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert (answer.status, answer.body) == (207, b"hello")


def test_send_header_refuses_what_would_break_the_head_apart(turn):
    ask = turn(Example)
    ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    ask.channel.send_response(200)
    with pytest.raises(ValueError, match="field"):
        ask.channel.send_header("X", "a\r\nSet-Cookie: b")


def test_date_is_in_the_one_format_of_http(turn):
    date = turn(Example)(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").fields["date"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert httpd.AsyncHTTPRequestHandler.date_time_string(None, 784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_channel_is_readable_and_writable_only_when_it_waits_for_that(turn):
    channel = turn(Example).channel
    assert channel.readable()
    assert not channel.writable()


def test_modules_import_without_a_warning():
    """Also on Python 3.11, which says that asyncore will be gone."""
    code = "import async_wsgi, httpd"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=PATIENCE)


def test_http_error_tells_status_and_reason():
    error = http1.HTTPError(404, "no such file")
    assert (error.status, error.reason) == (404, "no such file")

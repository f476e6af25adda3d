"""The life of one connection: requests in, answers out, in order, and how it ends."""

import re
import subprocess
import time

import pytest
from conftest import PATIENCE, wait_until

CLOSE = "Connection: close"


def request(target="/", *lines, method="GET", version="1.1", body=b""):
    """Return a request as bytes."""
    if body:
        lines = (*lines, f"Content-Length: {len(body)}")
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: a", *lines, "", ""]).encode("latin-1") + body


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """A folder with big.bin, 30 MB in which every kilobyte is different."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "big.bin").write_bytes(b"".join(b"%1024d" % number for number in range(30000)))
    return folder


# Keep-alive and HTTP/1.0.


def test_many_requests_on_one_connection(echo, connect):
    client = connect(echo)
    for number in range(100):
        answer = client.get(f"/{number}")
        assert (answer.status, answer.body) == (200, f"GET /{number}".encode())
        assert answer.fields["connection"] == "keep-alive"
    assert client.is_silent()


@pytest.mark.parametrize(
    ("version", "lines", "kept"),
    [
        ("1.1", [], True),
        ("1.1", [CLOSE], False),
        ("1.1", ["Connection: TE, Close"], False),
        ("1.0", [], False),
        ("1.0", ["Connection: Keep-Alive"], True),
    ],
)
def test_connection_is_kept_as_asked(echo, connect, version, lines, kept):
    client = connect(echo)
    answer = client.get("/", *lines, version=version)
    assert answer.fields["connection"] == ("keep-alive" if kept else "close")
    if kept:
        assert client.get("/again").body == b"GET /again"
    else:
        assert client.read_rest() == b""


def test_method_can_end_the_connection(echo, connect):
    client = connect(echo)
    answer = client.get(method="LAST")
    assert (answer.body, answer.fields["connection"]) == (b"goodbye", "close")
    assert client.read_rest() == b""


def test_method_cannot_keep_a_connection_that_the_client_ends(echo, connect):
    client = connect(echo)
    assert client.get(method="STAY").fields["connection"] == "keep-alive"
    assert client.get("/", CLOSE, method="STAY").fields["connection"] == "close"
    assert client.read_rest() == b""


def test_nothing_stays_of_the_request_before(echo, connect):
    client = connect(echo)
    client.send(request("/", "X-Secret: 1", method="POST", body=b"secret"))
    assert client.read_answer().body == b"secret"
    client.send(request("/", method="POST"))
    assert client.read_answer().body == b""
    client.get("/missing", method="BREW")
    assert client.get("/x").status == 200


def test_error_of_a_complete_request_keeps_the_connection(echo, connect):
    client = connect(echo)
    answer = client.get("/", method="BREW")
    assert (answer.status, answer.fields["connection"]) == (405, "keep-alive")
    assert "GET" in answer.fields["allow"]
    assert client.get("/next").status == 200


def test_no_field_appears_twice_and_the_three_are_on_every_answer(echo, connect):
    for method in ("GET", "HEAD", "BREW", "OPTIONS"):
        answer = connect(echo).get("/", method=method)  # the client checks that no field comes twice
        assert {"server", "date", "connection"} <= answer.fields.keys()


def test_empty_lines_before_a_request_are_skipped_but_not_for_ever(echo, connect):
    client = connect(echo)
    client.send(b"\r\n\r\n" + request("/a"))
    assert client.read_answer().status == 200
    client.send(b"\r\n" + request("/b"))
    assert client.read_answer().status == 200
    client.send(b"\r\n" * 1000)
    assert client.read_answer().status == 400


# Pipelining.


def test_pipelined_requests_are_answered_in_order(echo, connect):
    client = connect(echo)
    count = 1000
    client.send(b"".join(request(f"/{number}") for number in range(count)))
    for number in range(count):
        assert client.read_answer().body == f"GET /{number}".encode()
    assert client.is_silent()


def test_pipelined_requests_with_bodies_of_every_kind(echo, connect):
    client = connect(echo)
    chunked = request("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\nT: v\r\n\r\n"
    client.send((request("/", method="POST", body=b"length") + chunked + request("/g", method="HEAD")) * 20)
    for _ in range(20):
        assert client.read_answer().body == b"length"
        assert client.read_answer().body == b"abc"
        assert client.read_answer("HEAD").fields["content-length"] == "6"


def test_ten_thousand_pipelined_requests_neither_recurse_nor_starve_a_neighbour(echo, connect):
    greedy, neighbour = connect(echo), connect(echo)
    count = 10000
    greedy.sock.setblocking(False)
    data = memoryview(request("/x") * count)
    sent = greedy.sock.send(data)
    assert neighbour.get("/y").status == 200  # before all of the others have been answered
    greedy.sock.settimeout(PATIENCE)
    answered = 0
    while answered < count:
        if sent < len(data):
            sent += greedy.sock.send(data[sent : sent + 30000])
        for _ in range(500):
            if answered < count:
                assert greedy.read_answer().status == 200
                answered += 1
    assert greedy.get("/last").body == b"GET /last"


def test_request_after_the_last_one_is_not_answered(echo, connect):
    client = connect(echo)
    client.send(request("/last", CLOSE) + request("/ignored"))
    assert client.read_answer().body == b"GET /last"
    assert client.read_rest() == b""


def test_junk_after_a_request_does_not_harm_its_answer(echo, connect):
    client = connect(echo)
    client.send(request("/", CLOSE) + b"Invalid\r\n\r\n")
    assert client.read_answer().body == b"GET /"
    assert client.read_rest() == b""


# Answers without a body, and of unknown length.


def test_answer_to_head_is_that_to_get_without_its_body(echo, connect):
    client = connect(echo)
    client.send(request("/abc") + request("/abc", method="HEAD") + request("/abc"))
    get, head, again = client.read_answer(), client.read_answer("HEAD"), client.read_answer()
    get.fields.pop("date"), head.fields.pop("date")
    assert head == (200, get.fields, b"")
    assert again.body == get.body


@pytest.fixture(scope="module")
def producing(serve_module):
    return serve_module("Producing")


def test_body_of_unknown_length_is_chunked_and_the_connection_kept(producing, connect):
    client = connect(producing)
    answer = client.get("/50000")
    assert answer.fields["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.fields
    assert answer.body == b"".join(b"%d\n" % number for number in range(50000))
    assert client.get("/three").body == b"first\n0\n1\n2\n0\n1\nlast\n"
    assert client.get("/0").body == b""
    head = client.get("/5", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert client.get("/3").body == b"0\n1\n2\n"


@pytest.mark.parametrize("lines", [[], ["Connection: keep-alive"]])
def test_body_of_unknown_length_ends_with_the_connection_in_1_0(producing, connect, lines):
    client = connect(producing)
    answer = client.get("/3", *lines, version="1.0")
    assert answer.body == b"0\n1\n2\n"
    assert "transfer-encoding" not in answer.fields
    assert answer.fields["connection"] == "close"


def test_producer_is_closed_when_done_and_when_the_client_leaves(producing, connect, tmp_path):
    for path, kind in [("done", "3"), ("left", "100000000")]:
        client = connect(producing)
        client.send(request(f"/{kind}?{tmp_path / path}"))
        client.sock.recv(1000)
        client.reset()
        wait_until((tmp_path / path).exists, f"closing of the producer that is {path}")
    client = connect(producing)
    client.get(f"/3?{tmp_path / 'head'}", method="HEAD")
    assert (tmp_path / "head").exists()


def test_file_behind_what_has_filled_the_socket_comes_to_its_end(serve, connect):
    client = connect(serve("Cramming"), receive_buffer=4096)
    client.send(request("/30000", version="1.0"))
    body = client.read_answer().body
    assert len(body) > 30000
    assert body.strip(b"x") == b"f" * 30000


# An exception in a handler.


@pytest.mark.parametrize("target", ["/before", "/silent", "/head"])
def test_fault_before_the_head_has_left_is_500(serve, connect, target):
    server = serve("Faulty")
    server.may_complain = True
    client = connect(server)
    answer = client.get(target)
    assert answer.status == 500
    assert "x-secret" not in answer.fields
    assert b"half" not in answer.body
    assert client.get("/fine").status == 200
    host, port = client.sock.getsockname()
    client.close()
    (line,) = [line for line in server.stop() if "ERROR" in line]
    assert f'{host}:{port} "GET {target}"' in line


def test_fault_in_mid_answer_cuts_the_connection(serve, connect, tmp_path):
    """No final chunk and no second status line: the client must see that the answer is not complete."""
    server = serve("Faulty")
    server.may_complain = True
    for target in ("/sent", "/refused"):
        client = connect(server)
        client.send(request(target))
        received = client.read_rest()
        assert received.count(b"HTTP/1.1 ") <= 1
        assert not received.endswith(b"0\r\n\r\n")
    assert connect(server).get("/fine").status == 200


@pytest.mark.parametrize("earlier", [[], ["/fine"]])
def test_fault_in_an_answer_without_a_head_of_ours_resets_the_connection(serve, connect, earlier):
    """Its end would pass for the end of the answer, whose length nobody has said; not the one before either."""
    server = serve("Faulty")
    server.may_complain = True
    client = connect(server)
    for target in earlier:
        assert client.get(target).status == 200
    client.send(request("/raw"))
    with pytest.raises(ConnectionResetError):
        client.read_rest()
    assert connect(server).get("/fine").status == 200


def test_empty_part_of_a_head_is_nothing(serve, connect):
    client = connect(serve("Splitting"))
    client.send(b"XGET / HTTP/1.1\r\nHost: a\r\nX: X\r\n\r\n" + b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [client.read_answer().status for _ in range(2)] == [405, 200]


@pytest.fixture(scope="module")
def lending(serve_module):
    return serve_module("Lending")


@pytest.mark.parametrize("length", ["", "?length"])
@pytest.mark.parametrize("kind", ["unlimited", "memory", "buffered", "unzipped", "upper", "simple"])
def test_producers_as_students_write_them(lending, connect, kind, length):
    client = connect(lending)
    text = (b"abcdefghijklmnopqrstuvwxyz" * 800)[:20000]
    for _ in range(2):
        answer = client.get(f"/{kind}{length}")
        assert answer.status == 200
        assert answer.body == (text.upper() if kind == "upper" else text)
    assert client.get(f"/{kind}{length}", method="OPTIONS").status == 200


def test_fault_behind_a_short_producer_is_500(serve, connect):
    server = serve("Lending")
    server.may_complain = True
    client = connect(server)
    assert client.get("/fails").status == 500
    assert client.get("/memory").status == 200


@pytest.mark.parametrize("kind", ["broken", "late-broken"])
def test_producer_that_fails_is_closed(serve, connect, tmp_path, kind):
    server = serve("Producing")
    server.may_complain = True
    client = connect(server)
    client.send(request(f"/{kind}?{tmp_path / 'closed'}"))
    client.half_close()
    received = client.read_rest()
    assert received.startswith(b"HTTP/1.1 500 ") or not received.endswith(b"0\r\n\r\n")
    wait_until((tmp_path / "closed").exists, "closing of the producer")
    assert connect(server).get("/3").status == 200


# Expect: 100-continue.

EXPECT = "Expect: 100-continue"


def test_continue_is_said_once_and_then_the_body_read(echo, connect):
    client = connect(echo)
    client.send(request("/", EXPECT, "Content-Length: 5", method="POST"))
    assert client.read_answer().status == 100
    client.send(b"hello")
    assert client.read_answer().body == b"hello"
    assert client.get("/next").status == 200


def test_continue_is_not_said_when_the_body_is_here_already(echo, connect):
    client = connect(echo)
    client.send(request("/", EXPECT, method="POST", body=b"hello"))
    assert client.read_answer().body == b"hello"


def test_continue_is_said_for_a_chunked_body(echo, connect):
    client = connect(echo)
    client.send(request("/", EXPECT, "Transfer-Encoding: chunked", method="POST"))
    assert client.read_answer().status == 100
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert client.read_answer().body == b"hello"


def test_continue_is_not_said_to_1_0(echo, connect):
    client = connect(echo)
    client.send(request("/", EXPECT, "Content-Length: 5", method="POST", version="1.0"))
    client.send(b"hello")
    assert client.read_answer().body == b"hello"


@pytest.mark.parametrize(
    ("method", "lines", "status"),
    [
        ("BREW", [EXPECT, "Content-Length: 5"], 405),
        ("POST", [EXPECT, "Content-Length: 999999999999"], 413),
        ("POST", ["Expect: 200-ok", "Content-Length: 5"], 417),
    ],
)
def test_body_that_will_be_refused_is_not_asked_for(echo, connect, method, lines, status):
    client = connect(echo)
    client.send(request("/", *lines, method=method))
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"]) == (status, "close")
    client.half_close()
    assert client.read_rest() == b""  # no 100 after a final status


# Bodies.


@pytest.mark.parametrize("size", [1, 65536, 512 * 1024, 512 * 1024 + 1, 3 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_comes_whole_in_memory_or_spooled(echo, connect, size, chunked):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client = connect(echo)
    if chunked:
        client.send(request("/", "Transfer-Encoding: chunked", method="POST"))
        client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
    else:
        client.send(request("/", method="POST", body=body))
    assert client.read_answer().body == body
    assert client.get("/next").status == 200


def test_body_of_a_get_is_not_taken_for_a_request(echo, connect):
    client = connect(echo)
    canary = request("/canary")
    client.send(request("/first", body=canary) + request("/second"))
    assert client.read_answer().body == b"GET /first"
    assert client.read_answer().body == b"GET /second"
    assert client.is_silent()


# How it ends.


def test_half_close_after_the_request_gets_the_whole_answer(serve, connect, large_file):
    client = connect(serve("Files", handler={"root": str(large_file)}))
    client.send(request("/big.bin"))
    client.half_close()
    assert client.read_answer().body == (large_file / "big.bin").read_bytes()
    assert client.read_rest() == b""


def test_half_close_after_pipelined_requests_gets_all_answers(echo, connect):
    client = connect(echo)
    client.send(b"".join(request(f"/{number}") for number in range(2000)))
    client.half_close()
    for number in range(2000):
        assert client.read_answer().body == f"GET /{number}".encode()
    assert client.read_rest() == b""


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        request("/", "Content-Length: 9", method="POST") + b"12345678",
        request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n0\r\n",
    ],
)
def test_half_close_in_mid_request_is_never_taken_for_its_end(echo, connect, part):
    client = connect(echo)
    client.send(part)
    client.half_close()
    received = client.read_rest()
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")


def test_error_answer_survives_a_client_that_sends_all_before_it_reads(echo, connect):
    client = connect(echo)
    client.send(request("/", "Content-Length: 10485760", method="BREW") + bytes(10 * 1024 * 1024))
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"]) == (405, "close")
    assert client.read_rest() == b""


@pytest.mark.parametrize("size", [20000, 200000, 2000000])
def test_error_answer_survives_a_client_that_half_closes_before_it_reads(echo, connect, size):
    """Both sides are shut then, with input unread: closing at once would send a reset after the answer."""
    client = connect(echo)
    client.send(request("/", f"Content-Length: {size}", method="BREW") + bytes(size))
    client.half_close()
    assert client.read_answer().status == 405
    assert client.read_rest() == b""


def test_curl_shows_the_405_of_a_large_upload(start, tmp_path):
    (tmp_path / "upload").write_bytes(bytes(10 * 1024 * 1024))
    server = start("httpd.py", "-r", "www")
    command = ["curl", "-sS", "-o", "-", "-w", "%{http_code}", "-H", "Expect:", "--data-binary"]
    result = subprocess.run(
        [*command, f"@{tmp_path / 'upload'}", f"{server.url}index.html"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout[-3:], result.stderr) == (0, "405", "")


def test_lingering_client_does_not_hold_its_connection_for_long(serve, connect):
    server = serve("Echo", handler={"linger_timeout": 0.2})
    first = connect(server)
    first.get("/", CLOSE)
    assert first.read_rest() == b""  # by now the loop has opened what it needs, and closed this one
    before = server.descriptors()
    client = connect(server)
    client.send(request("/", "Content-Length: 5", method="BREW"))
    assert client.read_answer().status == 405
    assert client.read_rest() == b""  # its side is shut; ours stays open
    wait_until(lambda: server.descriptors() == before, "closing of a lingering connection")


def test_lingering_client_may_go_on_sending(serve, connect):
    """To close our end would answer the next byte with a reset."""
    client = connect(serve("Echo", handler={"linger_timeout": 30}))
    client.send(request("/", "Content-Length: 1000", method="BREW"))
    assert client.read_answer().status == 405
    assert client.read_rest() == b""
    for _ in range(10):  # as long as ten looks for late channels
        time.sleep(0.05)
        client.send(b"a")


def test_late_body_of_a_refused_request_is_not_taken_for_a_request(echo, connect):
    client = connect(echo)
    client.send(request("/", "Content-Length: 33", method="BREW"))
    assert client.read_answer().fields["connection"] == "close"
    client.send(request("/canary"))
    assert client.read_rest() == b""


# What reaches the kernel.


def test_small_request_costs_one_recv_and_one_send(serve, connect):
    client = connect(serve("Counting"))
    client.get("/calls")
    for _ in range(10):
        client.get("/")
    calls = client.get("/calls").body.decode()
    # The send of "/calls" itself, ten requests, and the recv of this one.
    assert calls == "s" + 10 * "rs" + "r"


def test_pipelined_requests_in_one_packet_cost_one_recv(serve, connect):
    client = connect(serve("Counting"))
    client.get("/calls")
    client.send(request("/") * 10 + request("/calls"))
    for _ in range(10):
        client.read_answer()
    assert re.fullmatch("sr+s{10}", client.read_answer().body.decode())


def test_head_and_body_leave_in_one_packet(serve, connect, tmp_path):
    """Apart they would meet Nagle's algorithm and delayed acknowledgements: 40 ms a request."""
    (tmp_path / "small.txt").write_bytes(b"x" * 1000)
    client = connect(serve("Files", handler={"root": str(tmp_path)}))
    for _ in range(10):
        client.send(request("/small.txt"))
        packet = client.sock.recv(65536)
        assert packet.startswith(b"HTTP/1.1 200 OK\r\n")
        assert packet.endswith(b"\r\n\r\n" + b"x" * 1000)


def test_accepted_sockets_do_not_wait_for_acknowledgements(serve, connect):
    server = serve("Echo")
    client = connect(server)
    assert client.get("/", method="NODELAY").body == b"1"


def test_connection_over_a_slow_link_gets_every_byte(serve, connect, large_file):
    client = connect(serve("Files", handler={"root": str(large_file)}), receive_buffer=4096)
    client.send(request("/big.bin", "Range: bytes=0-2999999"))
    client.send(request("/big.bin", "Range: bytes=3000000-3000009"))
    expected = (large_file / "big.bin").read_bytes()
    assert client.read_answer().body == expected[:3000000]
    assert client.read_answer().body == expected[3000000:3000010]

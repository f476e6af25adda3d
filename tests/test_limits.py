"""Every limit and deadline of the server: what is above it gets its status, and costs neither memory nor others' time.

Deadlines are class attributes, set small here. That a deadline passes is seen by its event, an answer or the end of
the stream; that it did not pass early, by the server still being silent when the test has done something longer.
"""

import select
import signal
import time

import pytest
from conftest import PATIENCE, wait_until

MIB = 1024 * 1024
HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def assert_refused(client, status):
    """The answer is *status* and closes, and nothing comes after it."""
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"]) == (status, "close")
    client.half_close()
    assert client.read_rest() == b""
    return answer


def drip(client, seconds, pause=0.05):
    """Send a byte every *pause* seconds until the server answers or closes; return whether it did within *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.send(b"a")
        if select.select([client.sock], [], [], pause)[0]:
            return True
    return False


@pytest.fixture(scope="module")
def hasty(serve_module):
    """A server whose deadlines are all short."""
    names = ("header_timeout", "idle_timeout", "body_timeout", "send_timeout")
    return serve_module("Echo", handler=dict.fromkeys(names, 0.3))


@pytest.fixture(scope="module")
def small(serve_module):
    """A server that takes only small bodies."""
    return serve_module("Echo", handler={"max_body": 3 * MIB})


@pytest.fixture
def watch_memory():
    """Return a function: call it with a server, and the test fails if its memory grows by 4 MiB at any time after."""
    watched = []

    def watch(server, client):
        for _ in range(20):
            assert client.get("/10").status in (200, 404)
        server.forget_peak_memory()
        watched.append((server, server.memory()))

    yield watch
    for server, before in watched:
        grown = server.memory(peak=True) - before
        assert grown < 4 * MIB, f"memory grew by {grown / MIB:.1f} MiB"


# What is too large, or not spoken here.


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (HEAD + b"X: " + b"a" * 8190 + b"\r\n\r\n", 431),
        (HEAD + b"X: a\r\n" * 100 + b"\r\n", 431),
        (HEAD + b"X: a\r\n" * 11000, 431),
        (HEAD + (b"X: " + b"a" * 8000 + b"\r\n") * 8 + b"Y: " + b"a" * (65536 - 26 - 64040 - 2) + b"\r\n\r\n", 431),
        (b"\r\n" * 8 + b"\n" + HEAD + b"\r\n", 400),
        (POST + b"Content-Length: 1073741825\r\n\r\n", 413),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (CHUNKED + b"40000001\r\n", 413),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 101, 431),
        (POST + b"Expect: tea\r\nContent-Length: 5\r\n\r\n", 417),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_limit_is_answered_with_its_status_and_closes(echo, connect, request_bytes, status):
    client = connect(echo)
    client.get("/before")  # also on a connection that was fine so far
    client.send(request_bytes)
    assert_refused(client, status)
    assert connect(echo).get("/after").status == 200


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["endless", "complete"])
def test_answer_to_a_head_request_that_is_refused_has_no_content(echo, connect, end):
    client = connect(echo)
    client.send(b"HEAD /x HTTP/1.1\r\nX: " + b"a" * 65536 + end)
    answer = client.read_answer("HEAD")
    assert (answer.status, int(answer.fields["content-length"]) > 0) == (431, True)
    client.half_close()
    assert client.read_rest() == b""


def test_limits_themselves_are_still_allowed(echo, connect):
    client = connect(echo)
    target = "/" + "a" * (8190 - len("GET / HTTP/1.1"))
    assert client.get(target).body == f"GET {target}".encode()
    assert client.get("/", "X: " + "a" * 8187, *["Y: b"] * 98).status == 200
    largest = b"\r\n" * 8 + HEAD + (b"X: " + b"a" * 8000 + b"\r\n") * 8
    client.send(largest + b"Y: " + b"a" * (65536 + 16 - len(largest) - 3) + b"\r\n\r\n")
    assert client.read_answer().status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 1001", "Transfer-Encoding: chunked"])
def test_body_limit_can_be_set(serve, connect, framing):
    server = serve("Echo", handler={"max_body": 1000})
    client = connect(server)
    client.send(POST + framing.encode() + b"\r\n\r\n" + b"3e9\r\n")
    assert_refused(client, 413)
    assert connect(server).get("/", "Content-Length: 0").status == 200


# Deadlines.


def test_head_that_does_not_end_is_408_at_an_absolute_deadline(hasty, connect):
    """Every byte that drips in must not move the deadline."""
    client = connect(hasty)
    client.send(HEAD + b"X: ")
    started = time.monotonic()
    assert drip(client, PATIENCE)
    assert time.monotonic() - started >= 0.3
    assert_refused(client, 408)


def test_header_deadline_holds_for_the_second_request_too(hasty, connect):
    client = connect(hasty)
    assert client.get("/first").status == 200
    client.send(b"G")
    assert drip(client, PATIENCE)
    assert_refused(client, 408)


def test_silent_connection_is_closed_without_an_answer(hasty, connect):
    """As browsers connect ahead of need, an answer would be taken for that to a request sent at that moment."""
    client = connect(hasty)
    assert client.read_rest() == b""


def test_single_line_breaks_do_not_keep_a_connection(hasty, connect):
    client = connect(hasty)
    client.send(b"\r\n\r")
    assert client.read_rest() == b""


def test_idle_connection_is_closed_without_an_answer(hasty, connect):
    client = connect(hasty)
    for _ in range(3):
        assert client.get("/").status == 200
        assert not select.select([client.sock], [], [], 0.1)[0], "closed before the idle timeout"
    started = time.monotonic()
    assert client.read_rest() == b""
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n"]
)
def test_body_that_drips_is_408(hasty, connect, framing):
    client = connect(hasty)
    client.send(POST + framing)
    assert drip(client, PATIENCE)
    assert_refused(client, 408)


def test_body_above_the_minimum_rate_may_take_its_time(serve, connect):
    client = connect(serve("Echo", handler={"body_timeout": 0.2, "body_rate": 1000}))
    client.send(POST + b"Content-Length: 3000\r\n\r\n")
    for _ in range(6):  # 500 bytes each 0.1 s: five times the rate, three times the grace
        assert client.is_silent()
        client.send(b"x" * 500)
        time.sleep(0.1)
    assert client.read_answer().body == b"x" * 3000


def test_client_that_takes_nothing_is_cut_off(serve, connect):
    server = serve("Producing", handler={"send_timeout": 0.3})
    first = connect(server)
    first.get("/1", "Connection: close")
    assert first.read_rest() == b""  # by now the loop has opened what it needs, and closed this one
    before = server.descriptors()
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: server.descriptors() > before, "accepting")
    started = time.monotonic()
    wait_until(lambda: server.descriptors() == before, "cutting off")
    assert time.monotonic() - started >= 0.25


def test_client_that_takes_little_but_steadily_is_served(serve, connect):
    client = connect(serve("Producing", handler={"send_timeout": 0.4}), receive_buffer=4096)
    client.send(b"GET /100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    deadline = time.monotonic() + 1.2
    received = b""
    while time.monotonic() < deadline:
        received = client.sock.recv(1 << 20)
        assert received, "cut off although it took something all the time"
        time.sleep(0.05)


def test_requests_pipelined_by_a_client_that_reads_are_not_timed_out_while_they_wait(serve, connect):
    """Time spent on answers before it must not count against a request that came early."""
    client = connect(serve("Sized", handler={"header_timeout": 0.3, "idle_timeout": 0.3}), receive_buffer=4096)
    client.send(b"GET /3000000 HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /10 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.6)  # not reading: the first answer waits for us
    assert len(client.read_answer().body) == 3000000
    assert client.read_answer().body == b"/10......."


# A thousand slow ones beside a normal one.


def test_a_thousand_slow_heads_do_not_keep_a_normal_client_waiting(serve, connect):
    """bench/ measures how long it waits; here, that it is served while all of them are still open."""
    server = serve("Echo", handler={"header_timeout": 3.0})
    slow = [connect(server) for _ in range(1000)]
    for client in slow:
        client.send(HEAD + b"X-a: ")
    normal = connect(server)
    for _ in range(50):
        assert normal.get("/").status == 200
        connect(server).get("/new", "Connection: close")
    for client in slow[::50]:
        client.send(b"b\r\n")
    assert all(client.is_silent() for client in slow)
    for client in slow:
        assert client.read_answer().status == 408
    assert normal.get("/").status == 200


# Memory follows what the client has earned.


def test_ten_thousand_pipelined_requests_never_read_back_cost_no_memory(serve, connect, watch_memory):
    server = serve("Sized")
    other = connect(server)
    watch_memory(server, connect(server))
    client = connect(server, receive_buffer=4096)
    client.sock.setblocking(False)
    requests = memoryview(b"".join(b"GET /100000/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(10000)))
    sent = 0
    while select.select([], [client.sock], [], 0.2)[1]:  # until the server takes no more
        sent += client.sock.send(requests[sent:])
        if sent == len(requests):
            break
    for _ in range(20):
        assert other.get("/10").status == 200
    client.sock.settimeout(PATIENCE)
    for number in range(50):  # a late reader gets its answers, in order
        assert client.read_answer().body.startswith(b"/100000/%d." % number)


@pytest.mark.parametrize(
    ("start", "piece", "statuses"),
    [
        (HEAD + b"X: ", b"a" * 65536, {431}),
        (HEAD, b"X: y\r\n" * 10000, {431}),
        (b"GET /", b"a" * 65536, {414}),
        (b"", b"\r\n" * 30000, {400}),
        (HEAD + b"A: b\r\n", b" c\r\n" * 10000, {400}),
        (CHUNKED + b"5;", b"a" * 65536, {400}),
        (CHUNKED, b"0" * 65536, {400}),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10000, {400, 431}),
        (CHUNKED + b"0\r\nX: ", b"y" * 65536, {400, 431}),
        (CHUNKED, b"1;aaaaaaaaaaaaaaaaaaa=b\r\nZ\r\n" * 2000, {413}),
    ],
    ids=["field", "fields", "target", "blank", "folded", "extension", "zeros", "trailers", "trailer", "chunks"],
)
def test_endless_input_is_refused_and_costs_no_memory(small, connect, watch_memory, start, piece, statuses):
    watch_memory(small, connect(small))
    client = connect(small)
    client.send(start)
    client.send_until_answered(piece, 100 * MIB)
    answer = client.read_answer()
    assert answer.status in statuses
    assert answer.fields["connection"] == "close"


def test_announced_body_costs_no_memory(serve, connect, watch_memory):
    server = serve("Echo", handler={"max_body": 2**31})
    other = connect(server)
    watch_memory(server, connect(server))
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.send(POST + b"Content-Length: 1073741824\r\n\r\nx")
    for _ in range(20):
        assert other.get("/").status == 200


def test_large_body_is_spooled_and_costs_no_memory(serve, connect, watch_memory):
    server = serve("Echo")
    watch_memory(server, connect(server))
    client = connect(server)
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (50 * MIB))
    for _ in range(50):
        client.send(bytes(MIB))
    assert client.read_answer().body == b"%d bytes" % (50 * MIB)


@pytest.mark.parametrize("kind", ["file", "producer"])
def test_slow_reader_of_a_large_answer_costs_no_memory(serve, connect, watch_memory, tmp_path, kind):
    if kind == "file":
        with (tmp_path / "100000000").open("wb") as file:
            file.truncate(100 * MIB)
        server = serve("Files", handler={"root": str(tmp_path)})
    else:
        server = serve("Producing")
    other = connect(server)
    watch_memory(server, other)
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(30):
        assert client.sock.recv(1)
        assert other.get("/10").status in (200, 404)


# Linear time.


def test_head_in_one_byte_packets_costs_linear_time(serve, connect):
    """Stock asynchat needed 5.5 s of processor time for twice as much."""
    server = serve("Echo")
    client = connect(server)
    client.get("/")
    before = server.cpu_seconds()
    for byte in HEAD + (b"X: " + b"a" * 8000 + b"\r\n") * 8 + b"\r\n":
        client.send(b"%c" % byte)
    assert client.read_answer().status == 200
    assert server.cpu_seconds() - before < 2


@pytest.mark.slow
def test_a_million_tiny_chunks_complete_and_leave_room_for_others(serve, connect):
    server = serve("Echo")
    client, other = connect(server), connect(server)
    other.get("/")
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunks = memoryview(b"1\r\nZ\r\n" * 1000000 + b"0\r\n\r\n")
    client.sock.setblocking(False)
    sent = served = 0
    while sent < len(chunks):
        if select.select([], [client.sock], [], 0)[1]:
            sent += client.sock.send(chunks[sent : sent + 65536])
        other.get("/")
        served += 1
    while client.is_silent():
        other.get("/")
        served += 1
    client.sock.settimeout(PATIENCE)
    assert client.read_answer().body == b"1000000 bytes"
    assert served > 50


# How many connections.


def test_oldest_idle_connection_makes_room_for_a_new_one(serve, connect):
    server = serve("Echo", server={"max_connections": 21, "eviction": 1})  # the listener counts, too
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.get("/")
    clients[0].get("/")  # so that the second is the oldest
    assert connect(server).get("/new").status == 200
    assert clients[1].read_rest() == b""
    assert all(client.get("/").status == 200 for client in [clients[0], *clients[2:]])


def test_connection_with_a_request_that_is_not_read_yet_makes_no_room(serve, connect):
    server = serve("Echo", server={"max_connections": 6, "accept_batch": 1})
    clients = [connect(server) for _ in range(5)]
    for client in clients:
        client.get("/")
    server.signal(signal.SIGSTOP)
    newcomer = connect(server)
    newcomer.send(b"GET /new HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        client.send(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
    server.signal(signal.SIGCONT)
    assert [client.read_answer().body for client in clients] == [b"GET /again"] * 5
    assert newcomer.read_answer().status == 503


def test_without_an_idle_connection_a_new_one_gets_503(serve, connect):
    server = serve("Echo", server={"max_connections": 6})
    busy = [connect(server) for _ in range(5)]
    for client in busy:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_answer().status == 100  # now it waits for a body
    answer = assert_refused(connect(server), 503)
    assert int(answer.fields["retry-after"]) > 0
    for client in busy:
        client.send(b"hello")
        assert client.read_answer().body == b"hello"
    assert connect(server).get("/now").status == 200

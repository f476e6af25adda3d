"""What breaks around the server: descriptors run out, clients vanish, send nonsense, or come by the thousand.

After each of it the server serves on as before, with nothing left open and nothing to say above the debug level.
"""

import select
import signal
import socket
import subprocess
import time

import pytest
from conftest import PATIENCE, wait_until

REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
MIB = 1024 * 1024


@pytest.fixture
def unharmed(connect):
    """Return a function that gives a server back unharmed: it serves, and has as many descriptors as in the beginning.

    Call it with the server, make the fault, then call what it returned.
    """

    def watch(server, target="/10"):
        connect(server).get(target, "Connection: close")
        before = wait_until(server.descriptors, "start")

        def check(say_nothing=True):
            assert connect(server).get(target, "Connection: close").status in (200, 404)
            wait_until(lambda: server.descriptors() <= before, "giving back of descriptors")
            time_before = server.cpu_seconds()
            time.sleep(0.2)  # an idle server must not spin
            assert server.cpu_seconds() - time_before < 0.1
            assert not say_nothing or server.log_lines() == []

        return check

    return watch


# Descriptors (R1-R6).


def test_running_out_of_descriptors_pauses_accepting_and_recovers(serve, connect):
    server = serve("Echo", descriptors=64, server={"max_connections": 1000, "pause": 0.1}, handler={"idle_timeout": 60})
    busy = [connect(server) for _ in range(20)]
    for client in busy:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_answer().status == 100
    idle = [connect(server) for _ in range(100)]
    assert connect(server).get("/late").status == 200  # idle ones have been closed to make room, busy ones not
    for client in busy:
        client.send(b"hello")
        assert client.read_answer().body == b"hello"
    for client in busy + idle:
        client.close()
    assert connect(server).get("/after").status == 200
    time_before = server.cpu_seconds()
    time.sleep(0.3)
    assert server.cpu_seconds() - time_before < 0.1, "it spins"
    lines = server.stop()
    assert 0 < len(lines) < 20
    assert all(line.startswith("WARNING") and "Too many open files" in line for line in lines)


def test_all_descriptors_busy_for_a_while_is_survived(serve, connect):
    """Nobody can be closed to make room; when the busy ones leave, new ones are served."""
    settings = {"header_timeout": 60}  # half heads stay, however slow the machine
    server = serve("Echo", descriptors=40, server={"max_connections": 1000, "pause": 0.1}, handler=settings)
    busy = [connect(server) for _ in range(25)]
    for client in busy:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_answer().status == 100
    others = []
    for _ in range(30):  # more than there are descriptors left
        others.append(connect(server))
        others[-1].send(b"GET / HTT")  # or it would be idle, and the next might take its place
    for client in others[-5:]:
        assert client.read_answer().status == 503  # at once, not silence
    wait_until(server.log_lines, "word of it")
    time_before = server.cpu_seconds()
    time.sleep(0.5)
    assert server.cpu_seconds() - time_before < 0.2, "it spins while it cannot accept"
    for client in busy:
        client.send(b"hello")
        assert client.read_answer().body == b"hello"
    for client in busy + others:
        client.close()
    for _ in range(20):
        assert connect(server).get("/").status == 200


@pytest.mark.parametrize(
    ("errors", "levels"),
    [(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"], {"WARNING"}), (["ECONNABORTED", "EPROTO", "EPERM", "EINTR"], set())],
)
def test_listener_survives_every_error_of_accept(serve, connect, errors, levels):
    """The kernel cannot be made to raise most of these, so the server's socket does."""
    server = serve("Echo", server={"pause": 0.05}, accept_errors=errors)
    for _ in range(5):
        assert connect(server).get("/").status == 200
    lines = server.stop()
    assert {line.split()[0] for line in lines} == levels
    assert len(lines) <= 2  # one a second of a kind


def test_client_that_takes_the_last_descriptor_stays(serve, connect):
    """Without one left accept() fails even if nobody waits: no reason to close the connection of a newcomer."""
    server = serve("Echo", descriptors=40, server={"max_connections": 1000})
    clients = [connect(server)]
    assert clients[0].get("/").status == 200  # now all is open that the server itself needs
    for count in range(server.descriptors(), 40):
        clients.append(connect(server))
        wait_until(lambda count=count: server.descriptors() == count + 1, f"descriptor {count + 1}")
    assert [client.get("/").status for client in clients] == [200] * len(clients)


def test_listener_survives_a_handler_that_cannot_be_made(serve, connect):
    server = serve("Echo", fails="__main__:Echo.__init__")
    server.may_complain = True
    for _ in range(2):
        assert connect(server).read_rest() == b""
    assert sum("cannot accept a connection" in line for line in server.stop()) == 2


def test_more_than_a_thousand_connections_in_one_process(serve, connect):
    server = serve("Echo")
    clients = [connect(server) for _ in range(1100)]
    for client in clients:
        client.send(b"DESCRIPTOR /x HTTP/1.1\r\nHost: a\r\n\r\n")
    numbers = [int(client.read_answer().body) for client in clients]
    assert max(numbers) > 1024
    assert clients[-1].get("/").status == 200
    assert clients[0].get("/").status == 200


def test_idle_connections_cost_little_memory(serve, connect):
    server = serve("Echo")
    connect(server).get("/")
    before = server.memory()
    clients = [connect(server) for _ in range(1000)]
    for client in clients:
        assert client.get("/").status == 200
    assert (server.memory() - before) / len(clients) < 20 * 1024


def test_more_connects_at_once_than_are_accepted_at_a_time(serve, connect):
    """R7: the kernel's queue holds them until their turn."""
    server = serve("Echo")
    server.signal(signal.SIGSTOP)
    clients = [connect(server) for _ in range(500)]
    for client in clients:
        client.send(REQUEST)
    server.signal(signal.SIGCONT)
    for client in clients:
        assert client.read_answer().body == b"GET /x"


# Clients that vanish (W1-W3, H1, H2, H10).


@pytest.mark.parametrize("name", ["Sized", "Producing", "Files"])
def test_reset_in_mid_answer(serve, connect, unharmed, tmp_path, name):
    """At its start, or when the server waits to send more; with nothing behind the request, or with thousands."""
    (tmp_path / "30000000").write_bytes(bytes(30 * MIB))
    (tmp_path / "50").write_bytes(bytes(50))
    server = serve(name, handler={"root": str(tmp_path)})
    check = unharmed(server)
    for target in (b"/50", b"/30000000"):
        for behind in (b"", REQUEST.replace(b"/x", b"/50") * 5000):
            client = connect(server, receive_buffer=4096)
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target + behind)
            client.sock.recv(20)
            client.reset()
    check()


def test_reset_before_accept(serve, connect, unharmed):
    server = serve("Echo")
    check = unharmed(server)
    server.signal(signal.SIGSTOP)  # so that they wait in the queue
    for number in range(200):
        client = connect(server)
        if number % 2:
            client.send(REQUEST)
        client.reset()
    server.signal(signal.SIGCONT)
    check()


POINTS = {
    "at once": b"",
    "in the request line": b"GET / HT",
    "in the head": b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
    "after the head": POST + b"Content-Length: 10\r\n\r\n",
    "in the body": POST + b"Content-Length: 10\r\n\r\nhello",
    "in a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "before the last chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "in the trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
    "in a spooled body": POST + b"Content-Length: 10000000\r\n\r\n" + bytes(2 * MIB),
    "when told to continue": POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    "after a request": REQUEST,
    "between pipelined requests": REQUEST * 3 + b"GET / HT",
    "after many requests": REQUEST * 5000,
    "after a refused head": b"GET\r\n\r\n",
    "after a refused body": b"BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000),
}


@pytest.fixture(scope="module")
def patient(serve_module):
    """A server that waits for ever, so that only the client's leaving ends a connection."""
    names = ("header_timeout", "idle_timeout", "body_timeout", "send_timeout", "linger_timeout")
    return serve_module("Echo", handler=dict.fromkeys(names, 3600))


@pytest.mark.parametrize("point", POINTS)
def test_client_that_leaves_at_any_point(patient, connect, unharmed, point):
    check = unharmed(patient)
    for _ in range(10):
        resetting, closing, half_closing = (connect(patient) for _ in range(3))
        for client in (resetting, closing, half_closing):
            client.send(POINTS[point])
        resetting.reset()
        closing.close()
        half_closing.half_close()
        half_closing.read_rest()
        half_closing.close()
    check()


def test_half_closed_client_that_reads_nothing_does_not_spin(serve, connect):
    """H11: a level-triggered poller reports the end of the input for ever."""
    server = serve("Sized")
    client = connect(server, receive_buffer=4096)
    client.send(b"GET /30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.half_close()
    client.sock.recv(20)
    time_before = server.cpu_seconds()
    time.sleep(0.5)
    assert server.cpu_seconds() - time_before < 0.1
    assert len(client.read_rest()) > 29000000


def test_frozen_server_goes_on_where_it_was(serve, connect):
    """R14: time during which the server itself did not run makes at most its own deadlines pass."""
    server = serve("Echo")
    client = connect(server)
    client.send(REQUEST[:10])
    server.signal(signal.SIGSTOP)
    client.send(REQUEST[10:])
    time.sleep(0.3)
    server.signal(signal.SIGCONT)
    assert client.read_answer().status == 200


# Slow ones, large ones (W6-W9, W12).


def test_rejected_upload_with_expect_sends_no_body(start, tmp_path):
    (tmp_path / "upload").write_bytes(bytes(MIB))
    server = start("httpd.py", "-r", "www")
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "-H", "Expect: 100-continue"]
    result = subprocess.run(
        [*command, "--data-binary", f"@{tmp_path / 'upload'}", f"{server.url}index.html"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.stdout == "405 0"


def test_flood_of_connects_without_data_leaves_nothing(serve, connect, unharmed):
    server = serve("Echo", handler={"header_timeout": 0.2})
    check = unharmed(server)
    canary = connect(server)
    assert canary.get("/").status == 200  # from now on it may be idle for longer than the silent ones
    for _ in range(1000):
        connect(server)
    assert canary.get("/").status == 200
    canary.close()
    check()


def test_slow_reader_gets_pipelined_answers_in_order(serve, connect):
    server = serve("Sized")
    client = connect(server, receive_buffer=4096)
    sent = b"".join(b"GET /1000/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(10000))
    view, answered = memoryview(sent), 0
    while answered < 10000:
        if view and select.select([], [client.sock], [], 0)[1]:
            client.sock.setblocking(False)
            view = view[client.sock.send(view) :]
            client.sock.settimeout(PATIENCE)
        assert client.read_answer().body == b"/1000/%d" % answered + b"." * (994 - len(str(answered)))
        answered += 1


# Mixed versions, odd packets (W10, W11, G1).


def test_one_connection_may_mix_versions(echo, connect):
    client = connect(echo)
    assert client.get("/", version="1.1").fields["connection"] == "keep-alive"
    assert client.get("/", "Connection: keep-alive", version="1.0").fields["connection"] == "keep-alive"
    assert client.get("/", version="1.1").fields["connection"] == "keep-alive"
    assert client.get("/", version="1.0").fields["connection"] == "close"
    assert client.read_rest() == b""


@pytest.mark.parametrize("data", [b"GET /\r\n", b"GET /\r\n\r\n", b"\n", b"\r\n", b"\n\n\n\n"])
def test_ancient_request_or_bare_line_feed_does_no_harm(echo, connect, data):
    client = connect(echo)
    client.send(data)
    client.half_close()
    assert client.read_rest()[:13] in (b"", b"HTTP/1.1 400 ")
    assert connect(echo).get("/").status == 200


def test_request_split_at_every_byte_gets_the_same_answer(echo, connect):
    data = POST + b"Transfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n"
    client = connect(echo)
    for cut in range(1, len(data)):
        client.send(data[:cut])
        connect(echo).get("/", "Connection: close")  # by now the first part has been read
        client.send(data[cut:])
        assert client.read_answer().body == b"hello"


def test_answer_arrives_though_the_client_writes_junk_meanwhile(serve, connect):
    client = connect(serve("Sized"), receive_buffer=4096)
    client.send(b"GET /3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    client.send(b"\x00junk\r\n\r\n" * 10)
    assert len(client.read_answer().body) == 3000000
    assert client.read_answer().status == 400
    client.half_close()
    assert client.read_rest() == b""


def test_log_has_one_line_for_each_junk_request_at_most(serve, connect):
    """G13: junk must not fill the disk."""
    server = serve("Echo", log="DEBUG")
    before = len(server.log_lines())
    client = connect(server)
    client.send(b"GET / HTTP/1.1\r\n" + b"bad field\r\n" * 50 + b"\r\n")
    assert client.read_answer().status == 400
    client.half_close()
    client.read_rest()
    lines = server.stop()[before:]
    assert all(line.startswith("DEBUG") for line in lines)
    assert sum("refused" in line for line in lines) == 1


def test_vanished_client_is_one_line_in_the_log(serve, connect):
    server = serve("Echo", log="DEBUG")
    client = connect(server)
    client.get("/")
    client.send(REQUEST[:20])
    client.reset()
    wait_until(lambda: "left" in "\n".join(server.log_lines()), "line in the log")
    lines = [line for line in server.stop() if "left" in line]
    assert len(lines) == 1
    assert lines[0].startswith("DEBUG")


def test_junk_is_escaped_in_the_log(serve, connect):
    server = serve("Echo", log="DEBUG")
    client = connect(server)
    client.send(b"GET /\x1b[31m\x00\r\nFAKE httpd: entry HTTP/1.1\r\n\r\n")
    client.half_close()
    client.read_rest()
    text = "\n".join(server.stop())
    assert "\x1b" not in text
    assert "\nFAKE" not in text


def test_connection_survives_without_a_name_of_the_peer(serve):
    """H1: getpeername() of a client that has left killed asyncore daemons."""
    server = serve("Echo")
    for _ in range(100):
        with socket.create_connection((server.host, server.port), PATIENCE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with socket.create_connection((server.host, server.port), PATIENCE) as sock:
        sock.sendall(REQUEST)
        assert sock.recv(12) == b"HTTP/1.1 200"

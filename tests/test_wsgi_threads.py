"""--threads: an application that blocks holds up nobody but its own clients, and never for ever."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, python_command, running_servers, wait_until
from test_wsgi import MIB, TESTS, Events, memory, post

from asynchttpd import ioloop
from asynchttpd.threads import GivenUp, Job


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path / "events")


@pytest.fixture
def start_threads(tmp_path, events):
    """Return a function that starts the applications of apps.py in *threads* threads."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "file.txt").write_bytes(b"a file")

    with running_servers(tmp_path) as run:

        def start(threads, *options, handler=None, server=None, environment=None):
            settings = json.dumps({"handler": handler or {}, "server": server or {}, "sweep": 0.1})
            static = f"/static={tmp_path / 'static'}"
            command = python_command(
                "tests/apps.py", settings, "--port", 0, "--threads", threads, "--static", static, *options,
                "apps:application",
            )  # fmt: skip
            environ = {**os.environ, "EVENTS": str(events.path), **(environment or {})}
            return run(command, cwd=TESTS, env=environ).wait_started()

        yield start


def ask(client, target, *lines):
    """Send a request and do not wait for its answer."""
    client.send("\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode())


def test_blocking_application_delays_no_file_and_no_health_check(start_threads, connect, events):
    server = start_threads(2)
    blocked = [connect(server) for _ in range(10)]
    for client in blocked:
        ask(client, "/block?b")
    wait_until(lambda: events.of("b") == ["called"] * 2, "both threads are busy")
    client, durations = connect(server), []
    for _ in range(100):
        begin = time.monotonic()
        assert client.get("/static/file.txt").body == b"a file"
        assert client.get("*", method="OPTIONS").status == 200
        durations.append(time.monotonic() - begin)
    assert sorted(durations)[98] < 0.1
    assert all(client.is_silent() for client in blocked)
    events.add("go", "b")
    assert [client.read_answer().body for client in blocked] == [b"through"] * 10


def test_threads_answer_side_by_side(start_threads, connect, events):
    server = start_threads(3)
    blocked = [connect(server), connect(server)]
    for client in blocked:
        ask(client, "/block?b")
    wait_until(lambda: events.of("b") == ["called"] * 2, "two calls")
    assert connect(server).get("/hello").body == b"hello"
    events.add("go", "b")
    assert [client.read_answer().body for client in blocked] == [b"through", b"through"]


def test_full_queue_is_503_with_retry_after(start_threads, connect, events):
    server = start_threads(2, server={"queue_limit": 3})
    running, waiting = [connect(server) for _ in range(2)], [connect(server) for _ in range(3)]
    for client in running + waiting:
        ask(client, "/block?b")
    refused = connect(server)
    wait_until(lambda: (events.of("b") == ["called"] * 2) and refused.get("/block?c").status == 503, "a full queue")
    answer = refused.get("/block?c")
    assert answer.status == 503 and int(answer.fields["retry-after"]) > 0
    assert refused.get("/static/file.txt").body == b"a file"
    assert events.of("c") == []
    events.add("go", "b")
    assert [client.read_answer().body for client in running + waiting] == [b"through"] * 5
    assert refused.get("/hello").body == b"hello"
    assert any("answering 503 Service Unavailable" in line for line in server.stop())


def test_queue_is_served_in_order(start_threads, connect, events):
    server = start_threads(1)
    first = connect(server)
    ask(first, "/block?0")
    wait_until(lambda: events.of("0"), "the thread is busy")
    clients = [connect(server) for _ in range(5)]
    for number, client in enumerate(clients, 1):
        ask(client, f"/echo?{number}")
        assert connect(server).get("/static/file.txt").status == 200  # the loop has had its turn
    assert all(client.is_silent() for client in clients)
    events.add("go", "0")
    assert [client.read_answer().status for client in clients] == [200] * 5
    calls = [line for line in events.path.read_text().splitlines() if line.startswith("called")]
    assert calls == [f"called {number}" for number in range(6)]


def test_streaming_waits_for_the_client(start_threads, connect, events):
    server = start_threads(1)
    client = connect(server, receive_buffer=16384)
    assert client.get("/hello").status == 200
    (worker,) = server.workers()
    begin = memory(worker)
    ask(client, "/infinite?i")
    for _ in range(50):
        client.sock.recv(4096)
        assert connect(server).get("/static/file.txt").status == 200
    assert memory(worker) - begin < 16 * MIB
    client.reset()
    wait_until(lambda: events.of("i") == ["closed"], "the generator's end", 1)


def test_client_that_leaves_frees_the_thread(start_threads, connect, events):
    server = start_threads(1)
    for number in range(5):
        client = connect(server, receive_buffer=16384)
        ask(client, f"/infinite?{number}")
        client.sock.recv(1000)
        client.reset()
        # With the only thread taken this would never be answered.
        assert connect(server).get("/hello").body == b"hello"
        wait_until(lambda tag=str(number): events.of(tag) == ["closed"], "the generator's end", 1)


def test_client_that_takes_nothing_frees_the_thread(start_threads, connect, events):
    server = start_threads(1, handler={"send_timeout": 0.5})
    client = connect(server, receive_buffer=4096)
    ask(client, "/infinite?i")
    wait_until(lambda: events.of("i") == ["closed"], "the generator's end", 5)
    assert connect(server).get("/hello").body == b"hello"


def test_client_that_leaves_the_queue_is_not_answered_at_all(start_threads, connect, events):
    server = start_threads(1, handler={"request_timeout": 0.1})
    server.may_complain = True
    client = connect(server)
    ask(client, "/late_answer?first")
    wait_until(lambda: events.of("first") == ["called"], "the call")
    waiting = connect(server)
    ask(waiting, "/echo?gone")
    assert waiting.read_answer().status == 504
    events.add("go", "first")
    assert connect(server).get("/static/file.txt").status == 200
    wait_until(lambda: connect(server).get("/hello").status == 200, "a free thread")
    assert events.of("gone") == []


def test_slow_application_is_504_and_the_log_shows_where_it_is(start_threads, connect, events):
    server = start_threads(1, handler={"request_timeout": 0.5})
    client = connect(server)
    ask(client, "/block?b")
    answer = client.read_answer()
    assert answer.status == 504
    assert client.read_rest() == b""
    assert connect(server).get("/hello").status == 504  # its only thread is not free
    events.add("go", "b")
    wait_until(lambda: connect(server).get("/hello").status == 200, "a free thread")
    log = "\n".join(server.stop())
    assert '"GET /block?b" takes too long:' in log and "in block" in log and "wait_for_event(environ" in log
    assert '"GET /hello" takes too long:\nstill waiting for a thread' in log


@pytest.mark.parametrize("when", ["first", "after"])
def test_empty_pieces_in_the_loop_have_as_long_as_a_client_that_takes_nothing(start_threads, connect, events, when):
    server = start_threads(0, handler={"send_timeout": 0.5})
    client = connect(server)
    ask(client, f"/empty_pieces/{when}?e")
    if when == "first":
        assert client.read_answer().status == 504
    else:
        assert client.read_rest().endswith(b"5\r\nfirst\r\n")
    wait_until(lambda: events.of("e") == ["called", "closed"], "the generator's end")


def test_time_limit_is_for_the_first_byte_only(start_threads, connect, events):
    server = start_threads(1, handler={"request_timeout": 0.2, "send_timeout": 0.2})
    client = connect(server)
    ask(client, "/stepwise?s")
    assert client.reader.readline().startswith(b"HTTP/1.1 200")
    client.sock.settimeout(1)  # many looks for late channels
    while client.reader.readline() != b"\r\n":
        pass
    assert client.reader.read(10) == b"5\r\nfirst\r\n"
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    events.add("go", "s")
    client.sock.settimeout(PATIENCE)
    rest = b""
    while not rest.endswith(b"0\r\n\r\n"):
        piece = client.sock.recv(100)
        assert piece
        rest += piece
    assert rest == b"6\r\nsecond\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_what_comes_after_504_reaches_nobody(start_threads, connect, events, size):
    """The application goes on in its thread: its input stays readable, what it makes is dropped."""
    server = start_threads(1, handler={"request_timeout": 0.1})
    client = connect(server)
    answer = post(client, "/late_answer?l", b"x" * size, f"Content-Length: {size}")
    assert answer.status == 504
    assert client.read_rest() == b""
    events.add("go", "l")
    wait_until(lambda: len(events.of("l")) == 4, "the end of the application")
    assert events.of("l") == ["called", "go", f"read {size}", "GivenUp"]
    wait_until(lambda: connect(server).get("/hello").body == b"hello", "a free thread")


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_application_can_ask_whether_the_client_is_there(start_threads, connect, events, leave):
    server = start_threads(2)
    client = connect(server)
    ask(client, "/watch_client?w")
    wait_until(lambda: events.of("w") == ["called"], "the call")
    assert connect(server).get("/hello").status == 200
    assert events.of("w") == ["called"]
    getattr(client, leave)()
    wait_until(lambda: events.of("w") == ["called", "left"], "the application's notice", 1)
    assert connect(server).get("/hello").status == 200


def test_failure_after_504_is_logged(start_threads, connect, events):
    server = start_threads(1, handler={"request_timeout": 0.1})
    server.may_complain = True
    client = connect(server)
    ask(client, "/fails_late?f")
    assert client.read_answer().status == 504
    events.add("go", "f")
    wait_until(lambda: any("failed after it was given up" in line for line in server.log_lines()), "a line in the log")


def test_file_from_a_thread_that_was_given_up_is_closed(start_threads, connect, events, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * MIB)
    server = start_threads(1, handler={"request_timeout": 0.1}, environment={"FILE": str(big)})
    client = connect(server)
    ask(client, "/late_file?f")
    assert client.read_answer().status == 504
    events.add("go", "f")
    wait_until(lambda: events.of("f") == ["go", "closed"], "the close() of the file")


def test_quiet_application_is_no_hang(start_threads, connect, events):
    """Its clients wait for longer than --timeout: the log names each once, and it goes on."""
    server = start_threads(2, "--timeout", 1, server={"timeout": 0.2})
    waiting = [connect(server), connect(server)]
    for client, name in zip(waiting, ("block", "stepwise"), strict=True):
        ask(client, f"/{name}?q")
    assert waiting[1].reader.readline() == b"HTTP/1.1 200 OK\r\n"
    (worker,) = server.workers()
    for name in ("block", "stepwise"):
        line = f'"GET /{name}?q": busy for more than 0.2 s:'
        wait_until(lambda line=line: any(line in found for found in server.log_lines()), line)
    wait_until(lambda: server.log_lines().count('    wait_for_event(environ, "go")') == 2, "both stacks")
    time.sleep(2)  # far longer than both time limits
    events.add("go", "q")
    assert waiting[0].read_answer().body == b"through"
    while waiting[1].reader.readline() != b"\r\n":
        pass
    assert waiting[1].read_chunks() == b"firstsecond"
    assert server.workers() == [worker]
    assert sum("busy for more than" in line for line in server.stop()) == 2


def test_slow_client_is_not_a_busy_thread(start_threads, connect):
    server = start_threads(1, server={"timeout": 0.2})
    client = connect(server, receive_buffer=4096)
    ask(client, "/infinite?i")
    client.sock.recv(1000)
    time.sleep(1)
    client.reset()
    assert connect(server).get("/hello").status == 200
    assert not any("busy" in line for line in server.stop())


@pytest.mark.parametrize("leave", ["reset", "close", "504"])
def test_worker_whose_threads_nobody_can_free_is_replaced(start_threads, connect, events, leave):
    handler = {"request_timeout": 0.1} if leave == "504" else {}
    server = start_threads(2, server={"timeout": 0.3}, handler=handler)
    clients, waiting = [connect(server), connect(server)], connect(server)
    for client in clients:
        ask(client, "/block?b")
    wait_until(lambda: events.of("b") == ["called"] * 2, "both threads are busy")
    ask(waiting, "/echo?waits")
    (worker,) = server.workers()
    for client in clients:
        if leave == "504":
            assert client.read_answer().status == 504
        else:
            getattr(client, leave)()
    wait_until(lambda: any(f"takes the place of {worker}" in line for line in server.log_lines()), "its turn")
    wait_until(lambda: connect(server).get("/hello").body == b"hello", "an answer of the new worker")
    if leave != "504":
        assert waiting.read_answer().status == 503
    assert events.of("waits") == []
    log = "\n".join(server.log_lines())
    assert "all threads are stuck, and no client waits for their answers:" in log
    assert log.count('wait_for_event(environ, "go")') >= 4  # each was named, and now again
    events.add("go", "b")
    wait_until(lambda: worker not in server.workers(), "the end of the old worker")


def test_work_of_a_thread_is_not_cut_off_because_its_client_has_left(start_threads, connect, events):
    server = start_threads(2)
    server.may_complain = True
    clients = [connect(server), connect(server)]
    for client, name in zip(clients, ("block", "fails_late"), strict=True):
        ask(client, f"/{name}?b")
    wait_until(lambda: events.of("b") == ["called", "called"], "the calls")
    for client in clients:
        client.reset()
    server.signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1.5)  # nothing else keeps it
    events.add("go", "b")
    assert server.wait() == 0
    assert events.of("b") == ["called", "called", "go", "closed"]
    assert any('"GET /fails_late?b" failed after it was given up' in line for line in server.stop())


def test_exit_names_the_thread_that_it_waited_for_in_vain(start_threads, connect, events):
    server = start_threads(2, "--grace", 1)
    client = connect(server)
    ask(client, "/block?b")
    wait_until(lambda: events.of("b") == ["called"], "a thread is busy")
    client.reset()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert [line for line in server.stop() if "exit does not end: thread application " in line]


def test_stop_that_waited_in_vain_names_the_requests(start_threads, connect, events):
    server = start_threads(2, "--grace", 1)
    client = connect(server)
    ask(client, "/block?b")
    wait_until(lambda: events.of("b") == ["called"], "a thread is busy")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    unanswered = '{}:{} "GET /block?b"'.format(*client.sock.getsockname())
    assert f"not answered yet: {unanswered}" in "\n".join(server.stop())


def test_stop_waits_for_the_answer_of_a_thread(start_threads, connect, events):
    server = start_threads(2)
    client = connect(server)
    ask(client, "/stepwise?s")
    client.reader.readline()
    server.signal(signal.SIGTERM)
    wait_until(lambda: not listens(server), "the listener's end")
    events.add("go", "s")
    while client.reader.readline() != b"\r\n":
        pass
    assert client.read_chunks() == b"firstsecond"
    assert server.wait() == 0


def listens(server):
    with socket.socket() as sock:
        return sock.connect_ex((server.host, server.port)) == 0


@pytest.mark.parametrize("step", range(12))
def test_call_between_any_two_steps_of_another_wakes_the_loop(step):
    """Two threads hand something to the loop at once; wherever one is interrupted, neither is forgotten."""
    event_map, called = ioloop.EventMap(), []
    event_map.poll(0)

    def run():
        while len(called) < 2:
            event_map.poll(PATIENCE)

    loop_thread = threading.Thread(target=run)
    loop_thread.start()
    wait_until(lambda: is_asleep(loop_thread), "the loop's sleep")
    steps = iter(range(1000))

    def trace(frame, event, argument):
        if event == "line" and frame.f_code is ioloop.EventMap.call_soon.__code__ and next(steps) == step:
            sys.settrace(None)
            event_map.call_soon(lambda: called.append("inner"))
        return trace

    sys.settrace(trace)
    event_map.call_soon(lambda: called.append("outer"))
    sys.settrace(None)
    if next(steps) <= step:  # call_soon() has no such step
        event_map.call_soon(lambda: called.append("inner"))
    loop_thread.join(5)
    was_woken = not loop_thread.is_alive()
    event_map.call_soon(lambda: called.append("end of the test"))
    loop_thread.join()
    event_map.close()
    assert was_woken, "the loop slept on"


@pytest.mark.parametrize("step", range(10))
@pytest.mark.parametrize("wake", ["make_room", "give_up"])
def test_thread_that_pauses_anywhere_in_the_hand_over_is_woken(step, wake):
    """Wherever a thread is when the loop has room for its next piece, or gives it up, it hears of it."""
    taken, ended, steps, paused, resume = [], [], itertools.count(), threading.Event(), threading.Event()
    handler = types.SimpleNamespace(
        answer=None, get_environ=dict, in_loop=print, take_piece=None,
        server=types.SimpleNamespace(get_app=lambda: None), _map=types.SimpleNamespace(call_soon=taken.append),
    )  # fmt: skip
    job = Job(handler)
    job.deliver(b"1")

    def pause(frame, event, argument):
        if event == "line" and frame.f_code is Job.deliver.__code__ and next(steps) == step:
            paused.set()
            resume.wait(PATIENCE)
        return pause

    def hand_over():
        sys.settrace(pause)
        try:
            job.deliver(b"2")
            if wake == "give_up":
                job.deliver(b"3")
        except GivenUp:
            with pytest.raises(GivenUp):  # however often an application that catches it tries again
                job.deliver(b"4")
            ended.append(True)
        paused.set()

    thread = threading.Thread(target=hand_over)
    loop = threading.Thread(target=job.make_room if wake == "make_room" else lambda: job.give_up(None))
    thread.start()
    paused.wait(0.1)  # asleep, it does not come to the later steps
    loop.start()
    loop.join(0.1)  # it may have to wait for the lock
    resume.set()
    thread.join(5)
    was_woken = not thread.is_alive()
    job.give_up(None)
    thread.join()
    loop.join()
    assert was_woken, "the thread sleeps on"
    assert (len(taken), ended) == (2, []) if wake == "make_room" else ended


def is_asleep(thread):
    stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_threads_end_with_the_loop():
    code = """if True:
        import threading, async_wsgi
        server = async_wsgi.AsyncWSGIServer(port=0)
        server.threads = 2
        server.set_app(print)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("application")]
        server.close()
        server.serve_forever()
        for thread in threads:
            thread.join(10)
        print(len(threads), any(thread.is_alive() for thread in threads))"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout == "2 False\n", ended.stderr

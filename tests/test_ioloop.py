"""The loop (ioloop.py) under channels of somebody else, which know nothing of it, and what it adds to asyncore's."""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import PATIENCE, ROOT

from asynchttpd import ioloop
from asynchttpd.ioloop import EventMap, asynchat, asyncore


@pytest.fixture
def pair():
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def channels(pair):  # the pair outlives them: a channel takes itself out of the poller before its socket is closed
    """A map of its own for a test."""
    map = EventMap()
    yield map
    map.close()


@pytest.fixture(autouse=True)
def short_sweep(monkeypatch):
    monkeypatch.setattr(ioloop, "SWEEP_INTERVAL", 0.02)


def turn_until(channels, condition):
    """Turn the loop until *condition()*; nothing else runs in this thread."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        channels.poll(0.01)
        channels.sweep()


class Recorder(asyncore.dispatcher):
    """A channel that reads, writes down what happens to it, and wants nothing else."""

    def __init__(self, sock, map):
        super().__init__(sock, map)
        self.events = []

    def writable(self):
        return False

    def handle_read(self):
        self.events.append(self.recv(4096))

    def handle_close(self):
        self.events.append("closed")
        self.close()

    def handle_error(self):
        self.events.append(sys.exc_info()[1])
        self.close()


class Timed(Recorder):
    """One that knows of deadlines."""

    deadline = None

    def handle_timeout(self):
        self.events.append("timeout")
        self.deadline = None


# Channels of somebody else, written for asyncore.


class Chat(asynchat.async_chat):
    """Answers each line with the same in capitals."""

    def __init__(self, sock, map):
        super().__init__(sock, map)
        self.set_terminator(b"\n")
        self.line = b""

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        self.push(self.line.upper() + b"\n")
        self.line = b""


class ChatServer(asyncore.dispatcher):
    def __init__(self, map=None):
        super().__init__(map=map)
        self.create_socket()
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Chat(sock, self._map)


class ChatClient(asyncore.dispatcher):
    """Connects, says hello, and leaves with the answer, as in the documentation of asyncore."""

    def __init__(self, address, map=None):
        super().__init__(map=map)
        self.create_socket()
        self.outgoing, self.received, self.failed = b"hello\n", b"", False
        self.connect(address)

    def handle_connect(self):
        pass

    def writable(self):
        return bool(self.outgoing) or not self.connected

    def handle_write(self):
        self.outgoing = self.outgoing[self.send(self.outgoing) :]

    def handle_read(self):
        self.received += self.recv(4096)
        if self.received.endswith(b"\n"):
            self.close()

    def handle_close(self):
        self.failed = True
        self.close()

    handle_error = handle_close


def test_unmodified_channels_run_in_the_default_map():
    server = ChatServer()
    address = server.socket.getsockname()
    clients = [ChatClient(address) for _ in range(10)]
    assert server._map is asyncore.socket_map
    turn_until(server._map, lambda: all(client.received for client in clients))
    server.close()
    ioloop.loop()  # ends, because every channel does
    assert [client.received for client in clients] == [b"HELLO\n"] * 10
    asyncore.socket_map.close()


def test_unmodified_channels_run_in_a_map_of_their_own(channels):
    server = ChatServer(channels)
    client = ChatClient(server.socket.getsockname(), channels)
    turn_until(channels, lambda: client.received)
    assert client.received == b"HELLO\n"


class Returner(ChatClient):
    """Says its line in a turn after the greeting, and connects anew at once, three times."""

    def __init__(self, address, map):
        self.address, self.said, self.wants = address, 0, False
        super().__init__(address, map)
        self.outgoing = b""

    def writable(self):
        return self.wants or not self.connected

    def handle_read(self):
        self.wants = self.recv(4096) == b"hi"

    def handle_write(self):
        if not self.wants:
            return
        self.wants = False
        self.send(b"bye")
        self.close()
        self.said += 1
        if self.said < 3:
            self.create_socket()  # with the number of the descriptor that has just become free
            self.connect(self.address)


def test_stranger_may_connect_anew_while_it_writes(channels):
    class Greeter(ChatServer):
        def handle_accepted(self, sock, addr):
            sock.sendall(b"hi")
            self.greeted.append(sock)

    server = Greeter(channels)
    server.greeted = []
    client = Returner(server.socket.getsockname(), channels)
    turn_until(channels, lambda: client.said == 3)
    for sock in server.greeted:
        sock.close()


def test_refused_connection_of_a_stranger_ends(channels):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    try:
        client = ChatClient(address, channels)
    except ConnectionRefusedError:
        return  # the kernel said so at once
    turn_until(channels, lambda: client.failed)
    assert not channels


@pytest.mark.parametrize("use_poll", [False, True])
def test_stock_asyncore_loop_runs_channels_in_an_event_map(channels, use_poll):
    server = ChatServer(channels)
    client = ChatClient(server.socket.getsockname(), channels)
    deadline = time.monotonic() + PATIENCE
    while not client.received and time.monotonic() < deadline:
        asyncore.loop(timeout=0.01, use_poll=use_poll, map=channels, count=1)
    assert client.received == b"HELLO\n"


def test_without_epoll_poll_does_the_same():
    program = """if True:
        import select, sys
        del select.epoll
        sys.path[:0] = [".", "tests"]
        import test_ioloop
        channels = test_ioloop.EventMap()
        server = test_ioloop.ChatServer(channels)
        client = test_ioloop.ChatClient(server.socket.getsockname(), channels)
        test_ioloop.turn_until(channels, lambda: client.received)
        assert client.received == b"HELLO\\n"
        channels.close()
        """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=PATIENCE)


def test_loop_ends_when_the_last_channel_does(channels, pair):
    channel = Recorder(pair[0], channels)
    pair[1].close()
    ioloop.loop(channels)
    assert "closed" in channel.events


def test_loop_ends_when_a_channel_clears_the_map(channels, pair):
    """As one may end asyncore's."""

    class Last(Recorder):
        def handle_read(self):
            super().handle_read()
            channels.clear()

    ours, theirs = pair
    last = Last(ours, channels)
    channels.poll(0)
    theirs.send(b"x")
    ioloop.loop(channels)
    assert last.events == [b"x"]


# What happens to one channel does not harm the others.


def test_exception_in_a_channel_goes_to_its_handle_error(channels, pair):
    class Failing(Recorder):
        def handle_read(self):
            raise ZeroDivisionError("of this channel")

    other, peer = socket.socketpair()
    failing, working = Failing(pair[0], channels), Recorder(other, channels)
    pair[1].send(b"x")
    peer.send(b"y")
    turn_until(channels, lambda: failing.events and working.events)
    assert isinstance(failing.events[0], ZeroDivisionError)
    assert working.events == [b"y"]
    peer.close()


@pytest.mark.parametrize("together", [32, 1])  # with 1 the successor is known to the poller in the same turn
def test_event_of_a_closed_descriptor_is_not_delivered_to_its_successor(channels, monkeypatch, together):
    """Both are ready in the same turn; the first closes the second, and its number is used again at once."""
    monkeypatch.setattr(ioloop, "WRITE_BATCH", together)
    pairs = [socket.socketpair() for _ in range(2)]
    successors = []

    class Replacing(Recorder):
        def handle_read(self):
            super().handle_read()
            victim = next(channel for channel in recorders if channel is not self)
            number = victim.socket.fileno()
            victim.close()
            ours, theirs = socket.socketpair()
            assert number in (ours.fileno(), theirs.fileno()), "the kernel gives the lowest free number"
            if theirs.fileno() == number:
                ours, theirs = theirs, ours
            successors.append((Recorder(ours, channels), theirs))

    recorders = [Replacing(ours, channels) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.send(b"x")
    turn_until(channels, lambda: successors)
    (successor, peer), *more = successors
    assert not more
    assert successor.events == []
    peer.send(b"for the successor")
    turn_until(channels, lambda: successor.events)
    assert successor.events == [b"for the successor"]
    peer.close()
    for _, theirs in pairs:
        theirs.close()


def test_hang_up_is_noticed_by_a_channel_that_wants_nothing(channels, pair):
    class Paused(Timed):
        def readable(self):
            return False

    channel = Paused(pair[0], channels)
    channels.poll(0)
    pair[1].close()
    turn_until(channels, lambda: channel.events)
    assert channel.events == ["closed"]


def test_descriptors_above_1024_work(channels):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 1200
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    ours, theirs = socket.socketpair()
    try:
        assert ours.fileno() > 1024
        channel = Recorder(ours, channels)
        theirs.send(b"x")
        turn_until(channels, lambda: channel.events)
        assert channel.events == [b"x"]
    finally:
        theirs.close()
        for fd in fillers:
            os.close(fd)


def test_map_made_before_fork_serves_both_processes(channels, pair):
    """An epoll object is shared by parent and child: if the map had one already, they would steal from each other."""
    channel = Recorder(pair[0], channels)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            channels.poll(0)
            channel.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    pair[1].send(b"x")
    turn_until(channels, lambda: channel.events)
    assert channel.events == [b"x"]


# The cost of an event does not grow with the number of idle channels.


def test_idle_channels_are_not_asked(channels):
    class Asked(Timed):
        questions = 0

        def readable(self):
            Asked.questions += 1
            return True

    pairs = [socket.socketpair() for _ in range(500)]
    for ours, _ in pairs:
        Asked(ours, channels)
    busy, peer = socket.socketpair()
    channel = Timed(busy, channels)
    channels.poll(0)
    before = Asked.questions
    for number in range(1, 101):
        peer.send(b"x")
        turn_until(channels, lambda number=number: len(channel.events) == number)
    assert Asked.questions == before
    for sock in [peer, *(theirs for _, theirs in pairs)]:
        sock.close()


def test_event_costs_the_same_after_thousands_were_touched_at_once(channels, pair):
    """As when thousands of idle connections have become too old. Once each event took several times as long then."""
    channel = Timed(pair[0], channels)

    def cost():
        began = time.process_time()
        for _ in range(200):
            pair[1].send(b"x")
            channels.poll(0)
        return time.process_time() - began

    before = min(cost() for _ in range(3))
    for fd in range(20_000, 50_000):
        channels.touch(fd)
    channels.poll(0)
    assert min(cost() for _ in range(3)) < 5 * before
    assert len(channel.events) == 1200


def test_channel_that_is_touched_is_asked_again(channels, pair):
    class Shy(Timed):
        willing = False

        def readable(self):
            return self.willing

    channel = Shy(pair[0], channels)
    pair[1].send(b"x")
    channels.poll(0)
    channel.willing = True
    channels.touch(pair[0].fileno())
    turn_until(channels, lambda: channel.events)
    assert channel.events == [b"x"]


def test_stranger_that_changes_its_mind_is_asked_at_the_next_sweep(channels, pair):
    class Shy(Recorder):
        willing = False

        def readable(self):
            return self.willing

    channel = Shy(pair[0], channels)
    pair[1].send(b"x")
    channels.poll(0)
    channel.willing = True
    turn_until(channels, lambda: channel.events)
    assert channel.events == [b"x"]


# Deadlines.


def test_deadline_calls_handle_timeout_once_and_not_before(channels, pair):
    channel = Timed(pair[0], channels)
    channel.deadline = time.monotonic() + 3600
    channels.sweep()
    assert channel.events == []
    channel.deadline = time.monotonic()
    channels.sweep()
    channels.sweep()
    assert channel.events == ["timeout"]


def test_loop_wakes_for_a_deadline_though_nothing_happens(channels, pair):
    class Leaving(Timed):
        def handle_timeout(self):
            super().handle_timeout()
            self.close()

    channel = Leaving(pair[0], channels)
    channel.deadline = time.monotonic() + 0.05
    ioloop.loop(channels)
    assert channel.events == ["timeout"]


def test_exception_in_handle_timeout_goes_to_handle_error(channels, pair):
    class Failing(Timed):
        def handle_timeout(self):
            raise ZeroDivisionError("of this channel")

    channel = Failing(pair[0], channels)
    channel.deadline = time.monotonic()
    channels.sweep()
    assert isinstance(channel.events[0], ZeroDivisionError)
    assert not channels


@pytest.mark.parametrize("strangers", [False, True])
def test_channels_closed_by_another_ones_timeout_are_left_in_peace(channels, strangers):
    class Closing(Timed):
        def handle_timeout(self):
            super().handle_timeout()
            for channel in list(channels.values()):
                if channel in timed:
                    channel.deadline = None
                channel.close()

    pairs = [socket.socketpair() for _ in range(3)]
    timed = [Closing(ours, channels) for ours, _ in pairs]
    for channel in timed:
        channel.deadline = time.monotonic()
    if strangers:
        pairs += [socket.socketpair() for _ in range(3)]
        for ours, _ in pairs[3:]:
            asyncore.dispatcher(ours, channels)
    channels.sweep()
    assert sum(channel.events.count("timeout") for channel in timed) == 1
    channels.poll(0)
    for _, theirs in pairs:
        theirs.close()


# The way in for signals and threads.


def test_call_from_another_thread_runs_in_the_loop_at_once(channels, pair, monkeypatch):
    monkeypatch.setattr(ioloop, "SWEEP_INTERVAL", 3600)
    channel, ran_in = Recorder(pair[0], channels), []

    def call():
        ran_in.append(threading.current_thread())
        channel.close()

    channels.poll(0)
    channels.sweep()
    thread = threading.Timer(0.05, channels.call_soon, [call])
    thread.start()
    ioloop.loop(channels)  # would wait for an hour
    thread.join()
    assert ran_in == [threading.main_thread()]


def test_call_made_before_the_loop_runs_is_not_lost(channels, pair, monkeypatch):
    monkeypatch.setattr(ioloop, "SWEEP_INTERVAL", 3600)
    channel = Recorder(pair[0], channels)
    channels.call_soon(channel.close)
    ioloop.loop(channels)
    assert not channels


def test_signal_is_noticed_at_once_by_an_idle_loop(channels, pair, monkeypatch):
    monkeypatch.setattr(ioloop, "SWEEP_INTERVAL", 3600)
    channel = Recorder(pair[0], channels)
    before = signal.signal(signal.SIGUSR1, lambda *_: channels.call_soon(channel.close))
    channels.poll(0)
    channels.sweep()
    thread = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
    thread.start()
    ioloop.loop(channels)
    thread.join()
    signal.signal(signal.SIGUSR1, before)
    assert not channels


def test_calls_that_call_again_do_not_starve_the_channels(channels, pair):
    channel = Recorder(pair[0], channels)

    def again():
        channels.call_soon(again)

    channels.call_soon(again)
    pair[1].send(b"x")
    turn_until(channels, lambda: channel.events)
    assert channel.events == [b"x"]


def test_very_many_calls_do_not_block_their_caller(channels, pair):
    """The wake-up pipe holds 64 KiB; a full one must not stop a signal handler."""
    Recorder(pair[0], channels)
    channels.poll(0)
    count = []
    for _ in range(100000):
        channels.call_soon(lambda: count.append(1))
    turn_until(channels, lambda: len(count) == 100000)


class Writer(Recorder):
    """Wants to write when it has read; *events* is common to all of them."""

    def __init__(self, sock, map, events, work=lambda: None):
        super().__init__(sock, map)
        self.events, self.work, self.wants = events, work, False

    def handle_read(self):
        self.recv(100)
        self.work()
        self.events.append("read")
        self.wants = True

    def writable(self):
        return self.wants

    def handle_write(self):
        self.events.append("write")
        self.wants = False


@pytest.fixture
def writers(channels):
    """Return a function: writers(count, work) makes channels that can read at once, and returns their events."""
    sockets = []

    def make(count, work=lambda: None):
        events = []
        for _ in range(count):
            pair = socket.socketpair()
            sockets.extend(pair)
            Writer(pair[1], channels, events, work)
            pair[0].send(b"a")
        return events

    yield make
    channels.close()
    for sock in sockets:
        sock.close()


def test_channels_of_one_turn_write_together_at_its_end(channels, writers):
    events = writers(3)
    channels.poll(0)
    assert events == ["read"] * 3 + ["write"] * 3


def test_channel_that_could_not_write_all_is_told_when_it_can(channels, pair):
    ours, theirs = pair
    writer = Writer(theirs, channels, [])
    writer.handle_write = lambda: writer.events.append(writer.send(bytes(1000)))
    ours.send(b"a")
    told = -1
    while len(writer.events) > told:  # until there is no room: the client does not read
        told = len(writer.events)
        channels.poll(0)
    assert told > 10
    while len(writer.events) == told:
        ours.recv(1_000_000)
        channels.poll(0)


def test_after_slow_work_each_event_has_its_own(channels, writers, monkeypatch):
    monkeypatch.setattr(ioloop, "FAIR_PERIOD", 1000)
    writers(1, work=lambda: time.sleep(2 * ioloop.SLOW_WORK))
    channels.poll(0)
    events = writers(2)
    channels.poll(0)
    assert events == ["read", "write"]
    channels.poll(0)
    assert events == ["read", "write"] * 2


def test_channels_write_together_again_when_work_is_quick(channels, writers, monkeypatch):
    monkeypatch.setattr(ioloop, "FAIR_PERIOD", 0)
    writers(1, work=lambda: time.sleep(2 * ioloop.SLOW_WORK))
    channels.poll(0)
    events = writers(2)
    channels.poll(0)
    assert events == ["read", "read", "write", "write"]


class SlowlyAnswered(Recorder):
    """Takes its time over each request; meanwhile the client that was answered before it sends its next one."""

    def __init__(self, sock, map, client, answered):
        super().__init__(sock, map)
        self.client, self.answered = client, answered

    def handle_read(self):
        self.events.append(self.recv(100))
        if self.answered:
            self.answered.pop().send(b"request")
        time.sleep(2 * ioloop.SLOW_WORK)
        self.answered.append(self.client)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="poll() tells of all channels at once")
def test_slow_work_is_done_for_each_in_turn(channels):
    answered = []
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            SlowlyAnswered(theirs, channels, ours, answered)
            ours.send(b"request")
        stack.callback(channels.close)
        served = list(channels.values())
        while sum(len(channel.events) for channel in served) < 20:
            channels.poll(PATIENCE)
        assert [len(channel.events) for channel in served] == [5] * 4


def test_who_comes_to_want_to_write_between_two_turns_writes_before_the_next(channels, writers):
    writers(1)
    channels.poll(0)
    events = writers(1)
    *_, writer = channels.values()
    writer.wants = True
    channels.touch(writer.socket.fileno())
    channels.poll(0)
    assert events == ["write", "read", "write"]


def test_fault_of_one_writer_is_its_own_and_who_has_closed_is_left_in_peace(channels, writers):
    events = writers(3)
    faulty, closed, _ = channels.values()
    closed.work = closed.close
    faulty.handle_write = lambda: 1 / 0
    faulty.handle_error = lambda: events.append("fault")
    channels.poll(0)
    assert sorted(events) == ["fault", "read", "read", "read", "write"]


def test_close_gives_everything_back(pair):
    channels = EventMap()
    channel = Recorder(pair[0], channels)
    before = len(os.listdir("/proc/self/fd"))
    channels.poll(0)
    assert len(os.listdir("/proc/self/fd")) > before
    channels.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # the channel's socket as well
    assert channel.socket.fileno() == -1


# What the kernel refuses, and what a channel cannot even say.


class FailingPoller:
    """A poller whose calls raise *error* for descriptor *fd* (None: for every one), and that otherwise does as told."""

    def __init__(self, channels, method, fd=None):
        channels.update_touched()  # opens the real one
        self.real, self.method, self.fd = channels.poller, method, fd
        channels.poller = self

    def __getattr__(self, name):
        def call(*arguments):
            if name == self.method and self.fd in (None, *arguments[:1]):
                if self.fd is None:
                    self.method = None  # only once
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return getattr(self.real, name)(*arguments)

        return call


def test_channel_that_cannot_be_watched_is_closed_and_nobody_else(channels, pair):
    (ours, theirs), (lost, lost_peer) = pair, socket.socketpair()
    FailingPoller(channels, "register", lost.fileno())
    neighbour, unwatched = Recorder(ours, channels), Recorder(lost, channels)
    theirs.send(b"hello")
    turn_until(channels, lambda: neighbour.events)
    assert neighbour.events == [b"hello"]
    assert isinstance(unwatched.events[0], OSError)
    assert lost_peer.recv(1) == b""
    lost_peer.close()


def test_wait_that_fails_is_tried_again(channels, pair, caplog):
    ours, theirs = pair
    channel = Recorder(ours, channels)
    FailingPoller(channels, "poll")
    theirs.send(b"hello")
    turn_until(channels, lambda: channel.events)
    assert channel.events == [b"hello"]
    assert "cannot wait for events: Cannot allocate memory" in caplog.text


class Hopeless(Timed):
    """Fails in everything, also in telling so."""

    def handle_read(self):
        raise RuntimeError("in an event")

    handle_timeout = handle_read

    def handle_error(self):
        raise RuntimeError("in handle_error()")


@pytest.mark.parametrize("event", ["read", "timeout"])
def test_channel_that_fails_in_its_own_handle_error_is_taken_out(channels, pair, caplog, event):
    (ours, theirs), (bad, bad_peer) = pair, socket.socketpair()
    neighbour, hopeless = Recorder(ours, channels), Hopeless(bad, channels)
    if event == "read":
        bad_peer.send(b"x")
    else:
        hopeless.deadline = 0.0
    theirs.send(b"hello")
    turn_until(channels, lambda: neighbour.events and hopeless not in channels.values())
    assert bad.fileno() == -1
    assert "so did its handle_error()" in caplog.text
    bad_peer.close()


@pytest.mark.parametrize("where", ["call_soon", "every_second"])
def test_function_that_raises_ends_neither_the_loop_nor_its_neighbours(channels, pair, caplog, where):
    called = []
    for function in [lambda: 1 / 0, lambda: called.append("next")]:
        channels.call_soon(function) if where == "call_soon" else channels.every_second.append(function)
    turn_until(channels, lambda: called)
    assert "ZeroDivisionError" in caplog.text


def test_time_in_which_the_loop_stood_still_is_added_to_the_deadlines(channels, pair):
    channel = Timed(pair[0], channels)
    channels.sweep()
    channel.deadline = time.monotonic() + 0.5
    channels.sweep_at = time.monotonic() - 3  # the last turn took three seconds
    channels.sweep()
    assert channel.events == []
    assert 2 < channel.deadline - time.monotonic() < 4
    channel.deadline = time.monotonic() - 0.01
    channels.sweep()
    assert channel.events == ["timeout"]


@pytest.mark.parametrize("left", ["calls", "channels"])
def test_what_a_long_turn_leaves_over_is_done_without_waiting_for_events(channels, pair, monkeypatch, left):
    monkeypatch.setattr(ioloop, "LONGEST_TURN", -1.0)  # so each turn is too long already
    channels.poll(0)
    done, asked = [], [Recorder(sock, channels) for sock in pair]
    for number, channel in enumerate(asked):
        if left == "calls":
            channels.call_soon(lambda number=number: done.append(number))
        else:
            channel.readable = lambda number=number: done.append(number)
    began = time.monotonic()
    while set(done) != {0, 1}:
        channels.poll(PATIENCE)
    assert time.monotonic() - began < 0.9

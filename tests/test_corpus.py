"""Every request of the corpus (tests/requests) gets its answers, however it arrives and whatever comes before it.

Over real connections to one server, which outlives them all; and on socket pairs on which the loop is turned
by hand after each piece, because TCP may join pieces that were sent one by one.
"""

import gc
import itertools
import os
import random
import re
import select
import socket
from pathlib import Path
from typing import NamedTuple

import corpus
import h11
import pytest
from conftest import belongings, python_command, running_servers, wait_until
from corpus_server import Handler

from asynchttpd import ioloop

ENTRIES = corpus.load()
GET = next(entry for entry in ENTRIES if entry.name == "valid/get")
PREFIX = b"GET /prefix HTTP/1.1\r\nHost: a\r\n\r\n"
PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PATIENCE = 5.0  # seconds of silence after which a test gives up
ANSWER_HEAD = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Answer(NamedTuple):
    status: int
    fields: dict  # lower-case bytes -> bytes
    body: bytes


def parse_answers(data, heads):
    """Return (answers, rest) of the bytes *data*; *heads* are the indexes of final answers to HEAD."""
    answers, position, final = [], 0, 0
    while match := ANSWER_HEAD.match(data, position):
        status = int(match[1])
        fields = {name.lower(): value for name, value in re.findall(rb"([^:]+): (.*)\r\n", match[2])}
        bodiless = status < 200 or status in (204, 304) or final in heads
        stop = match.end() + (0 if bodiless else int(fields[b"content-length"]))
        if len(data) < stop:
            break
        answers.append(Answer(status, fields, bytes(data[match.end() : stop])))
        position = stop
        final += status >= 200
    return answers, bytes(data[position:])


class Wire:
    """The client's end of a TCP connection: sends, and never forgets to receive meanwhile."""

    def __init__(self, sock):
        self.sock = sock
        self.received = bytearray()
        self.ended = False  # the server has closed its side
        self.was_reset = False  # and what we sent after that was refused

    def send(self, data):
        """Send *data*, unless the server closes before."""
        view = memoryview(data)
        while view and not self.ended:
            view = view[self.step(view) :]

    def step(self, data=b""):
        """Receive something or else send some of *data*; return the number of bytes sent, or refused for ever."""
        self.turn_loop()
        readable, writable, _ = select.select([self.sock], [self.sock] if data else [], [], PATIENCE)
        if readable:
            try:
                piece = self.sock.recv(1 << 20)
            except ConnectionError:
                piece, self.was_reset = b"", True
            self.received += piece
            self.ended = not piece
        elif writable:
            try:
                return self.sock.send(data)
            except ConnectionError:
                self.was_reset = True  # but what came before the reset can still be received
                return len(data)
        else:
            pytest.fail(f"silence; received until now: {bytes(self.received[-500:])}")
        return 0

    def turn_loop(self):
        pass  # the server has a process of its own


class Pair(Wire):
    """The same on a socket pair, the server's end of which is in the same process."""

    def __init__(self):
        sock, server_end = socket.socketpair()
        sock.setblocking(False)
        super().__init__(sock)
        self.map = ioloop.EventMap()
        Handler(server_end, map=self.map)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()
        self.map.close()

    def turn_loop(self):
        """Turn the loop until it has nothing left to do."""
        while self.is_busy():
            self.map.poll(0)

    def is_busy(self):
        readers = [channel.socket for channel in self.map.values() if channel.readable()]
        writers = [channel.socket for channel in self.map.values() if channel.writable()]
        return any(select.select(readers, writers, [], 0))


def whole(entry, part):
    return [part]


def lines(entry, part):
    return re.findall(rb"[^\n]*\n|[^\n]+", part)


def single_bytes(entry, part):
    return [part[i : i + 1] for i in range(len(part))]


def random_pieces(entry, part):
    cuts = random.Random(entry.name).choices(range(len(part) + 1), k=20)
    bounds = [0, *sorted(cuts), len(part)]
    return [part[start:stop] for start, stop in itertools.pairwise(bounds)]


# Bytes of an entry that a cut is worth its time for.
LARGEST = {lines: 100_000, single_bytes: 2048, random_pieces: 1 << 30}


def cuts(entry):
    """Return the ways of cutting *entry* that are worth their time."""
    return [cut for cut, largest in LARGEST.items() if sum(map(len, entry.parts)) <= largest]


def converse(wire, entry, cut=whole, before=b"", behind=b""):
    """Send *entry* in the pieces that *cut* makes; return (answers, end), end being "open" or "closed"."""
    heads = {index + bool(before) for index in entry.heads}
    wire.send(before)
    for index, part in enumerate(entry.parts):
        if index:
            wait_for_answers(wire, heads, index + bool(before))
        for piece in cut(entry, part):
            wire.send(piece)
    wire.send(behind)
    if entry.half_close:
        wire.turn_loop()
        wire.sock.shutdown(socket.SHUT_WR)
    elif "open" in entry.ends:
        wire.send(PROBE)
    while not wire.ended:
        wire.step()
    answers, rest = parse_answers(wire.received, heads)
    assert not rest
    # Who has said "close" and goes on sending may be reset; who is refused must be able to read why.
    assert not wire.was_reset or (answers and answers[-1].status < 400)
    if answers and answers[-1].body == b"GET /probe":
        return answers[:-1], "open"
    return answers, "closed"


def wait_for_answers(wire, heads, count):
    while len(parse_answers(wire.received, heads)[0]) < count and not wire.ended:
        wire.step()


def check(entry, answers, end, cut=whole):
    """Assert that these are the answers that the entry expects, which was sent as *cut* has cut it."""
    statuses = "".join(f"{answer.status} " for answer in answers)
    told = f"{cut.__name__}: expected {entry.expect}, got {statuses}{end}"
    assert entry.statuses.fullmatch(statuses), told
    assert end in entry.ends, told
    finals = [answer for answer in answers if answer.status >= 200]
    if entry.bodies:
        bodies = [answer.body for i, answer in enumerate(finals) if answer.status == 200 and i not in entry.heads]
        assert bodies == entry.bodies
    for answer in finals:
        assert {b"date", b"server", b"connection"} <= answer.fields.keys()
        assert answer.status != 405 or b"allow" in answer.fields
    says_close = [answer.fields[b"connection"] == b"close" for answer in finals]
    assert not any(says_close[:-1])
    if finals and not entry.half_close:  # before it ends a client does not say that it will
        assert says_close[-1] == (end == "closed")


def gist(entry, answers, end):
    """What must not depend on how the request was cut. A 100 that may be left out may depend on it."""
    least = 200 if entry.expect.startswith("100|-") else 100
    return [(answer.status, answer.body) for answer in answers if answer.status >= least], end


class CorpusServer:
    """What the tests ask of the running server *process*."""

    def __init__(self, process):
        self.process = process
        self.results = {}  # name of an entry -> what came back when it was sent whole

    def converse(self, *arguments, **keywords):
        with socket.create_connection((self.process.host, self.process.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            return converse(Wire(sock), *arguments, **keywords)

    def result(self, entry):
        if entry.name not in self.results:
            self.results[entry.name] = self.converse(entry)
        return self.results[entry.name]


@pytest.fixture(scope="module", autouse=True)
def leak_check():
    """Look for leaks once, in place of the fixture for every test: thousands of looks would take minutes."""
    before = belongings()
    yield
    gc.collect()
    assert belongings() == before


@pytest.fixture(scope="module")
def server(leak_check, tmp_path_factory):
    """The one server of this module. A traceback or a warning in its log is an error when it stops."""
    with running_servers(tmp_path_factory.mktemp("corpus")) as run:
        yield CorpusServer(run(python_command("tests/corpus_server.py")).wait_started())


def batches(entries):
    """Return parameters that are twenty of *entries* each: as tests of their own they would take half as long again."""
    entries = list(entries)
    return [pytest.param(entries[i : i + 20], id=entries[i].name) for i in range(0, len(entries), 20)]


def each(batch):
    for entry in batch:
        print(entry.name)  # shown when the test fails, which is at the last one
        yield entry


def test_the_corpus_is_all_there():
    assert len(ENTRIES) >= 580


@pytest.mark.parametrize("batch", batches(ENTRIES))
def test_answers_are_the_expected_ones(server, batch):
    for entry in each(batch):
        check(entry, *server.result(entry))


@pytest.mark.parametrize("batch", batches(ENTRIES))
def test_packets_do_not_matter(server, batch):
    for entry in each(batch):
        for cut in cuts(entry):
            answers, end = server.converse(entry, cut)
            check(entry, answers, end, cut)
            assert gist(entry, answers, end) == gist(entry, *server.result(entry)), cut.__name__


@pytest.mark.parametrize("batch", batches(ENTRIES))
def test_a_request_before_does_not_matter(server, batch):
    for entry in each(batch):
        (first, *answers), end = server.converse(entry, before=PREFIX)
        assert first.body == b"GET /prefix"
        check(entry, answers, end)
        assert gist(entry, answers, end) == gist(entry, *server.result(entry))


@pytest.mark.parametrize("batch", batches(e for e in ENTRIES if e.ends == {"closed"} and not e.half_close))
def test_nothing_behind_the_last_request_is_answered(server, batch):
    for entry in each(batch):
        answers, end = server.converse(entry, behind=corpus.CANARY * 2)
        check(entry, answers, end)


@pytest.mark.parametrize("batch", batches(ENTRIES))
def test_pieces_do_not_matter_even_if_each_is_seen_alone(server, batch):
    for entry in each(batch):
        for cut in [whole, *cuts(entry)]:
            with Pair() as wire:
                answers, end = converse(wire, entry, cut)
                wire.sock.close()
                wire.turn_loop()
                assert not wire.map, "the connection outlived its client"
            check(entry, answers, end, cut)
            assert gist(entry, answers, end) == gist(entry, *server.result(entry)), cut.__name__


def read_with_h11(entry):
    """Return (bodies of the requests that h11 reads in *entry*, whether it refused what followed them)."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(b"".join(entry.parts))
    if entry.half_close:
        connection.receive_data(b"")
    bodies, body = [], b""
    try:
        while connection.our_state is not h11.MUST_CLOSE:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                bodies.append(body)
                body = b""
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.DONE:
                    connection.start_next_cycle()
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError:
        return bodies, True
    return bodies, False


@pytest.mark.parametrize("batch", batches(e for e in ENTRIES if e.name.startswith("valid/")))
def test_one_answer_for_each_request_that_h11_reads(server, batch):
    for entry in each(batch):
        bodies, refused = read_with_h11(entry)
        answers, _ = server.result(entry)
        finals = [answer for answer in answers if answer.status >= 200]
        agrees = not refused and len(finals) == len(bodies)
        assert agrees != bool(entry.h11), f"h11 read {len(bodies)}, refused: {refused}; {len(finals)} answers"
        if agrees:
            echoed = [(answer.body, body) for answer, body in zip(finals, bodies, strict=True) if body]
            assert all(
                answer == body or answer.startswith((b"GET ", body + b"\n")) for answer, body in echoed if answer
            )


@pytest.mark.parametrize("batch", batches(e for e in ENTRIES if e.name.startswith("invalid/")))
def test_h11_refuses_too_or_its_batch_says_why_not(batch):
    for entry in each(batch):
        _, refused = read_with_h11(entry)
        assert refused != bool(entry.h11)


def test_the_same_server_has_survived_all_this(server):
    """Last in this file. The connections are closed when it has seen their clients leave."""
    check(GET, *server.converse(GET))
    assert server.process.process.poll() is None
    sockets = Path(f"/proc/{server.process.pid}/fd")
    if sockets.exists():
        wait_until(lambda: connections(sockets) == 1, "closing all but the listening socket")


def connections(folder):
    return sum(os.readlink(entry).startswith("socket:") for entry in folder.iterdir())

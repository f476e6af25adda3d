"""The ladder: every rung as a real process on a free port, and the commands around it."""

import contextlib
import importlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LADDER = [sys.executable, "-m", "ladder"]
ECHO = [1, 2, 4, 5, 6, 7, 8, 9]  # rung 3 serves nobody, 10 to 12 speak HTTP
DEADLINE = 10  # seconds, for whatever must happen
MESSAGE = b"".join(b"%07d " % number for number in range(2**17))[:-1] + b"\n"  # 1 MiB, no two words alike


class Rung:
    """A running rung, started the way a reader starts it, in a process group of its own."""

    def __init__(self, number, *options, ulimit="-c 0"):
        # The rung inherits an ignored SIGINT when the tests run in a shell's background; a handler resets that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            ["sh", "-c", f'ulimit {ulimit}; exec "$0" "$@"', *LADDER, str(number), "--port", "0", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.first_line = self.process.stderr.readline()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)\b", self.first_line)[1])

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def stop(self, send=os.killpg, signum=signal.SIGINT):
        """Press Ctrl-C (which reaches the whole group), and return what stdout and stderr said since the first line."""
        send(self.process.pid, signum)
        return self.process.communicate(timeout=DEADLINE)

    def wait_for(self, words):
        """Read the log up to a line with these words."""
        while words not in (line := self.process.stderr.readline()):
            assert line, f"the log ended without {words!r}"

    def group_is_empty(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


@pytest.fixture
def start():
    rungs = []

    def start(*arguments, **options):
        rungs.append(Rung(*arguments, **options))
        return rungs[-1]

    yield start
    for rung in rungs:
        if not rung.group_is_empty():
            os.killpg(rung.process.pid, signal.SIGKILL)
        rung.process.communicate()


def receive(connection, size):
    """Return exactly *size* bytes, or fewer when the other side ends the connection."""
    pieces = []
    while size and (piece := connection.recv(min(size, 65536))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def ask(connection, message):
    connection.sendall(message)
    return receive(connection, len(message))


def reset(connection):
    """Close with a RST: what the kernel sends for a client that is killed with words unread."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ladder(*arguments, **environment):
    return subprocess.run(
        [*LADDER, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize(
    ("number", "who"),
    [
        (1, r"\(MainProcess\) \(MainThread\)"),
        (2, r"\(MainProcess\) \(Thread-1\)"),
        (4, r"\(MainProcess\) \(Thread-[12]\)"),
        (5, r"\(Process-\d+\) \(MainThread\)"),
        (6, r"\(Process-\d+\) \(Thread-\d+\)"),
        (7, r"\(MainProcess\) \(MainThread\)"),
        (8, r"\(MainProcess\) \(MainThread\)"),
        (9, r"\(MainProcess\) \(MainThread\)"),
    ],
)
def test_echoes_a_line_and_logs_who_served_it(start, number, who):
    rung = start(number)
    with rung.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    _, log = rung.stop()
    for event in (
        "Client connected: 127.0.0.1:",
        "Received 6 bytes from 127.0.0.1:",
        "Client said goodbye: 127.0.0.1:",
    ):
        assert re.search(rf"^{who} {event}\d+$", log, re.MULTILINE)


@pytest.mark.parametrize("number", ECHO)
def test_a_message_of_a_mebibyte_comes_back_whole(start, number):
    rung = start(number)
    with socket.socket() as client:
        client.settimeout(DEADLINE)
        # Small buffers: they are full before we read, so the server has to wait with words that it owes us.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.connect(("127.0.0.1", rung.port))

        def send():
            client.sendall(MESSAGE)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        sender.join(0.1)  # lets the buffers fill; the claim does not hang on it
        echo = receive(client, 2 * len(MESSAGE))
        sender.join()
    assert len(echo) == len(MESSAGE)
    assert echo == MESSAGE


@pytest.fixture
def pair(monkeypatch):
    """Two connected sockets; the first does not block, and takes only a part of MESSAGE at once."""
    monkeypatch.syspath_prepend(ROOT)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(DEADLINE)
    yield ours, theirs
    ours.close()
    theirs.close()


# On Linux a socket is writable when a third of its buffer is free, and that is more than a rung sends at once. So a
# partial send() is provoked here, with more to send.
def test_rung_7_sends_only_the_rest_after_a_partial_send(pair):
    rung = importlib.import_module("ladder.rung7_select")
    ours, theirs = pair
    rung.connections[ours.fileno()] = ours, ("127.0.0.1", 1)
    rung.write_waiters[ours.fileno()] = rung.send_handler, (ours.fileno(), MESSAGE)
    echo = b""
    while ours.fileno() in rung.write_waiters:
        rung.call(rung.write_waiters, ours.fileno())
        echo += theirs.recv(len(MESSAGE))
        assert len(echo) <= len(MESSAGE)
    assert echo + receive(theirs, len(MESSAGE) - len(echo)) == MESSAGE


def test_rung_8_sends_only_the_rest_after_a_partial_send(pair):
    rung = importlib.import_module("ladder.rung8_asyncore")
    ours, theirs = pair
    channel = rung.EchoHandler(ours, ("127.0.0.1", 1))
    channel.rest = MESSAGE
    echo = b""
    while channel.writable():
        channel.handle_write()
        echo += theirs.recv(len(MESSAGE))
        assert len(echo) <= len(MESSAGE)
    channel.del_channel()
    assert echo + receive(theirs, len(MESSAGE) - len(echo)) == MESSAGE


@pytest.mark.slow
@pytest.mark.parametrize("number", ECHO)
def test_a_client_that_resets_does_not_end_the_server(start, number):
    rung = start(number)
    for _ in range(5):  # more than any pool has
        client = rung.connect()
        ask(client, b"hello\n")
        client.sendall(b"x" * 300000 + b"\n")
        reset(client)
    with rung.connect() as client:
        assert ask(client, b"still there?\n") == b"still there?\n"
    _, log = rung.stop()
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("number", "options", "at_once"),
    [
        (1, [], 1),
        (4, [], 2),
        (4, ["--threads", "3"], 3),
        (5, ["--workers", "2"], 2),
        (6, ["--workers", "2", "--threads", "3"], 6),
    ],
)
def test_one_client_more_than_the_pool_waits_until_another_leaves(start, number, options, at_once):
    rung = start(number, *options)
    clients = [rung.connect() for _ in range(at_once)]
    for client in clients:
        assert ask(client, b"hello\n") == b"hello\n"
    with rung.connect() as late:
        late.sendall(b"me too\n")
        # All others are served again and again meanwhile.
        for client in clients * 50:
            assert ask(client, b"hello again\n") == b"hello again\n"
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(1)
        clients.pop().close()
        late.settimeout(DEADLINE)
        assert receive(late, 7) == b"me too\n"
    for client in clients:
        client.close()


@pytest.mark.parametrize("number", [2, 7, 8, 9])
def test_idle_clients_make_nobody_wait(start, number):
    rung = start(number)
    idle = [rung.connect() for _ in range(100)]
    with rung.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"
    for client in idle:
        client.close()


@pytest.mark.parametrize(
    ("number", "send"), [*((number, os.killpg) for number in ECHO), (5, os.kill), (6, os.kill)]
)  # killpg: as a terminal does; kill: the parent alone
def test_ctrl_c_ends_it_cleanly(start, number, send):
    rung = start(number)
    with rung.connect() as client:
        ask(client, b"hello\n")
        out, log = rung.stop(send)
    assert rung.process.returncode == 0
    assert out == ""
    assert "Traceback" not in log
    assert "Warning" not in rung.first_line + log
    assert rung.group_is_empty()


@pytest.mark.parametrize("number", [5, 6])
def test_sigterm_ends_the_workers_with_their_parent(start, number):
    rung = start(number, "--workers", "2")
    with rung.connect() as client:
        ask(client, b"hello\n")
        _, log = rung.stop(os.kill, signal.SIGTERM)
    assert rung.process.returncode == 0
    assert "Traceback" not in log
    assert rung.group_is_empty()


@pytest.mark.parametrize("number", [*ECHO, 10])
def test_taken_port_is_one_line(number):
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = ladder(str(number), "--host", "127.0.0.1", "--port", str(other.getsockname()[1]))
    assert result.returncode == 1
    assert result.stderr.startswith("Cannot listen: Address already in use")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [10, 11, 12])
def test_the_last_rungs_speak_http(start, number):
    rung = start(number)
    with rung.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert receive(client, 100000).startswith(b"HTTP/1.1 200 OK\r\n")
    rung.stop()
    assert rung.process.returncode == 0
    assert rung.group_is_empty()


@pytest.mark.parametrize("number", [2, 7, 8, 9])
def test_without_descriptors_clients_wait_and_the_server_lives(start, number):
    rung = start(number, ulimit="-n 40")
    crowd = [rung.connect() for _ in range(60)]
    with rung.connect() as late:
        late.sendall(b"me too\n")
        for _ in range(500):  # in the meantime the server accepts whom it can
            ask(crowd[0], b"hello\n")
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(1)
        for client in crowd:
            client.close()
        late.settimeout(DEADLINE)
        assert receive(late, 7) == b"me too\n"


def test_without_threads_rung_2_turns_clients_away_and_lives(start):
    rung = start(2, ulimit="-v 500000")  # a stack takes 8 MB
    crowd = [rung.connect() for _ in range(100)]
    assert crowd[-1].recv(1) == b""
    for client in crowd:
        client.close()
    rung.wait_for("said goodbye")  # so there is a thread again
    with rung.connect() as client:
        assert ask(client, b"hello\n") == b"hello\n"


def test_rung_3_counts_up_to_most():
    result = ladder("3", "--most", "20")
    assert result.stderr == "(MainProcess) (MainThread) 20 threads, then: enough (--most)\n"
    assert result.returncode == 0


def test_the_list_names_every_rung_and_its_idea():
    result = ladder()
    assert re.findall(r"^ *(\d+)  ", result.stdout, re.MULTILINE) == [str(number) for number in range(1, 13)]
    assert result.stdout.count("    New: ") == 12


@pytest.mark.parametrize("number", range(1, 11))
def test_every_rung_says_what_is_new_when_it_breaks_and_what_is_next(number):
    (file,) = ROOT.glob(f"ladder/rung{number}_*.py")
    text = file.read_text()
    assert re.search(r"^New: .*^Breaks when: .*^    .*^Next: ", text, re.MULTILINE | re.DOTALL)
    assert text.count("\n") <= 125


def test_diff_shows_what_is_new_since_the_rung_before():
    lines = ladder("diff", "9").stdout.splitlines()
    assert lines[:2] == ["--- rung8_asyncore.py", "+++ rung9_asynchat.py"]
    assert '+        self.set_terminator(b"\\n")' in lines
    assert "-class EchoHandler(asyncore.dispatcher):" in lines


@pytest.mark.parametrize("number", [11, 12])
def test_diff_of_the_project_is_an_overview(number):
    lines = ladder("diff", str(number)).stdout.splitlines()
    assert len(lines) < 150
    if number == 11:
        assert "  class FileProducer" not in lines
        assert any(re.match(r"\+ class AsyncHTTPRequestHandler: \w", line) for line in lines)
        assert any(re.match(r"      found_terminator\b", line) for line in lines)
        assert "- FileHandler" in lines


def test_diff_of_rung_4_passes_over_the_rung_that_is_no_server():
    assert ladder("diff", "4").stdout.startswith("--- rung2_")


def on_a_terminal(*arguments, **environment):
    """Return what the command writes when its stdout is a terminal."""
    ours, theirs = os.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | environment
    process = subprocess.Popen([*LADDER, *arguments], cwd=ROOT, env=environment, stdout=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO: the terminal's other side is closed
        while piece := os.read(ours, 65536):
            written += piece
    os.close(ours)
    assert process.wait(DEADLINE) == 0
    return written


def test_diff_is_in_colour_on_a_terminal_unless_no_color_is_set():
    assert b"\x1b[32m+import threading" in on_a_terminal("diff", "2")
    assert b"\x1b" not in on_a_terminal("diff", "2", NO_COLOR="1")
    assert "\x1b" not in ladder("diff", "2").stdout


@pytest.mark.parametrize("arguments", [["13"], ["0"], ["diff"], ["diff", "x"], ["fly"]])
def test_bad_usage_is_one_line(arguments):
    result = ladder(*arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def children(pid):
    """Return the processes that a process has started, as Linux lists them."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def test_race_without_its_libraries_says_in_one_line_what_to_install():
    result = subprocess.run([sys.executable, "-S", "-m", "ladder", "race"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert "pip install" in result.stderr
    assert len(result.stderr.splitlines()) == 1


RACE = [*LADDER, "race", "--span", "0.1"]


@pytest.fixture
def racing_libraries():
    for name in ("matplotlib", "psutil", "rich"):
        pytest.importorskip(name)


@pytest.mark.slow
@pytest.mark.usefixtures("racing_libraries")
def test_race_draws_a_picture_and_begins_with_the_table(tmp_path):
    command = [*RACE, "--rungs", "1", "7", "--clients", "8", "--png", str(tmp_path / "race.png")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG\r\n")
    numbers, _, bars = result.stdout.partition("In numbers")[2].partition("From left to right")
    assert bars
    assert all(re.search(rf"^{load}: 4 clients ask", numbers, re.MULTILINE) for load in ("idle", "slow", "big"))
    assert re.search(r"^1 one thread +8 ", numbers, re.MULTILINE)  # breaks at 8 clients
    assert re.search(r"^7 select +- ", numbers, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("racing_libraries")
def test_race_stopped_by_ctrl_c_leaves_no_server(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [*RACE, "--rungs", "5", "--span", "30", "--png", str(tmp_path / "race.png")]
    race = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + DEADLINE
    while not (workers := [worker for server in children(race.pid) for worker in children(server)]):
        assert time.monotonic() < deadline, "no worker was ever started"
    server = children(race.pid)
    race.send_signal(signal.SIGINT)
    out, _ = race.communicate(timeout=DEADLINE)
    assert race.returncode == 1
    assert "Traceback" not in out
    assert not [pid for pid in server + workers if Path(f"/proc/{pid}").exists()]

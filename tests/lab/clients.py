"""The clients of the lab check: curl, ab and a raw socket. Each wait and each answer has a bound."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from .messages import say
from .patience import IDLE, LOOK
from .server import HOST, wait_until

LARGEST = 64 * 1024 * 1024  # bytes of one answer; more is not read


class Answer:
    """What came back for one request: an answer, a part of one, or nothing.

    data -- head and body as received
    note   -- why reading ended before the answer was whole, else ""
    waited -- whether it ended because nothing more came
    """

    def __init__(self, data, note="", waited=False):
        self.data, self.note, self.waited = data, note, waited
        head, end_of_head, self.body = data.partition(b"\r\n\r\n")
        self.status_line, *lines = head.decode("latin-1").split("\r\n")
        known = re.fullmatch(r"HTTP/1\.[01] (\d{3})( .*)?", self.status_line)
        self.status = int(known[1]) if known and end_of_head else None
        self.fields = {}
        for line in lines:
            name, _colon, value = line.partition(":")
            self.fields[name.lower()] = value.strip()

    def __str__(self):
        if not self.status_line:
            return say("nothing ({why})", why=self.note or say("an empty line"))
        if self.status is None:
            shown = say("{data!r}, which is no HTTP answer", data=self.data[:120])
        else:
            shown = say("{line!r} and {count:,} bytes of body", line=self.status_line[:80], count=len(self.body))
        return f"{shown} ({self.note})" if self.note else shown

    def field(self, name):
        """Return the value of field *name*, "" when it is missing."""
        return self.fields.get(name.lower(), "")

    def with_field(self, name):
        """Return what there is to say of the answer and of its field *name*."""
        if value := self.field(name):
            return say("{answer} with {field} {value!r}", answer=self, field=name, value=value)
        return say("{answer} with no {field}", answer=self, field=name)

    @property
    def has_length(self):
        return bool({"content-length", "transfer-encoding"} & self.fields.keys())

    @property
    def connection(self):
        """The options of the Connection field, in lower case."""
        return [option.strip().lower() for option in self.field("Connection").split(",")]

    @property
    def keeps_open(self):
        """Whether the server promises to wait for another request on this connection (RFC 9112 section 9.3)."""
        if "close" in self.connection:
            return False
        return "keep-alive" in self.connection or (self.status_line.startswith("HTTP/1.1") and self.has_length)


def tool(name, package):
    """Return the path of the program *name*; without it the check fails, for it would prove nothing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"The program {name} is not installed; the lab check needs it ({package}).", pytrace=False)
    return path


def curl(server, target, *options):
    """Ask *server* for *target* (sent as it is, also with `..`) with curl and return the Answer.

    It asks for the end of the connection, so that a mistake with keep-alive is seen by the checks of keep-alive only.
    """
    command = [tool("curl", "apt install curl"), "-q", "-sS", "-i", "--path-as-is", "--noproxy", "*"]
    command += ["-H", "Connection: close", *options, f"http://{HOST}:{server.port}{target}"]
    patience = server.patience()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        data, waited = printed(process, patience, signal.SIGKILL)
        process.stdout.close()
        note = process.stderr.read().decode("utf-8", "replace").strip()
    return noted(server, Answer(data, say("nothing more {when}", when=patience) if waited else note, waited))


def printed(process, patience, number):
    """Return what *process*, a client, prints, and whether *patience* was over first: then it gets signal *number*."""
    chunks, size, waited = [], 0, False
    while size < LARGEST:
        if select.select([process.stdout], [], [], LOOK)[0]:
            chunk = os.read(process.stdout.fileno(), 1024 * 1024)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            patience.renew()
            over = patience.is_out_of_time()
        else:
            over = patience.is_over()
        if over and not waited:
            waited = True
            process.send_signal(number)
    return b"".join(chunks), waited


def noted(server, answer):
    """Return *answer*, and note at the server that it may be hurt, if the answer is not whole."""
    server.may_be_hurt = server.may_be_hurt or bool(answer.note)
    return answer


def request(target="/page.html", *fields, method="GET", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {target} {version}", "Host: localhost", *fields, "", ""]).encode()


class Connection:
    """A raw TCP connection to the server; for what the other clients would smooth over."""

    def __init__(self, server, receive_buffer=None):
        self.server = server
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(IDLE)
        self.received, self.note, self.waited, self.closed = b"", "", False, False
        self.attempt(self.socket.connect, (HOST, server.port))

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.socket.close()

    def attempt(self, operation, *arguments):
        """Call *operation*; what went wrong is in self.note, and the next read() reports it."""
        try:
            operation(*arguments)
        except TimeoutError:
            self.give_up(say("after {seconds:.1f} s", seconds=IDLE))
        except OSError as error:
            self.note = self.note or say("the connection was cut: {error}", error=error)

    def give_up(self, when):
        self.note, self.waited = self.note or say("nothing more {when}", when=when), True

    def send(self, data):
        self.attempt(self.socket.sendall, data)

    def receive(self, patience=None):
        """Add what arrives to self.received; return False when nothing more will come."""
        patience = patience or self.server.patience()
        self.socket.settimeout(LOOK)
        while not self.note:
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                if patience.is_over():
                    self.give_up(patience)
            except OSError as error:
                self.note = say("the connection was cut: {error}", error=error)
            else:
                return self.has_received(data, patience)
        return False

    def has_received(self, data, patience):
        patience.renew()
        self.received += data
        if not data:
            self.note, self.closed = say("the connection was closed"), True
        elif patience.is_out_of_time():
            self.give_up(patience)
        return bool(data)

    def read(self, method="GET", idle=IDLE):
        """Read one answer to a request with *method*; bytes after it stay for the next read()."""
        patience = self.server.patience(idle=idle)
        while b"\r\n\r\n" not in self.received and self.receive(patience):
            pass
        head_end = self.received.find(b"\r\n\r\n") + 4
        length = Answer(self.received).field("Content-Length")
        if method == "HEAD" and head_end >= 4:
            size = head_end
        elif length.isdecimal() and head_end >= 4:
            size = head_end + int(length)
        else:  # no length: it ends with the connection
            size = LARGEST
        chunks, have = [self.received], len(self.received)
        while have < min(size, LARGEST):
            self.received = b""
            if not self.receive(patience):
                break
            chunks.append(self.received)
            have += len(self.received)
        data = b"".join(chunks)
        self.received = data[size:]
        whole = len(data) >= size or (data and size == LARGEST and self.closed)
        return noted(self.server, Answer(data[:size], "" if whole else self.note, self.waited and not whole))

    def ends(self):
        """Return whether the server closes the connection, instead of resting."""
        self.rest(idle=0.8)
        return bool(self.note) and not self.waited

    def rest(self, idle=0.3):
        """Return what comes after the answer that has been read, until the connection ends or the server rests."""
        patience = self.server.patience(idle=idle)
        while self.receive(patience):
            pass
        return self.received


def exchange(server, target="/page.html", *fields, idle=IDLE, **options):
    """Send one request on a connection of its own, and return the Answer."""
    with Connection(server) as client:
        client.send(request(target, *fields, **options))
        return client.read(options.get("method", "GET"), idle)


def connected_clients(server, count, seconds):
    """Begin *count* connections at once and return how many were made within *seconds*."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex((HOST, server.port))
        wait_until(lambda: all(map(is_connected, clients)), seconds)
        return sum(map(is_connected, clients))


def is_connected(client):
    try:
        client.getpeername()
    except OSError:
        return False
    return True


class ApacheBench:
    """One run of ab against *server*, at most `seconds` long; what it reported, as numbers."""

    clients = 100
    seconds = 3

    def __init__(self, server, target, requests_wanted, *options):
        command = [tool("ab", "apt install apache2-utils"), "-q", "-c", str(self.clients)]
        # -n after -t, which sets it, too. -s: without it one lost answer costs half a minute.
        command += ["-t", str(self.seconds), "-n", str(requests_wanted), "-s", "3", *options]
        command += [f"http://{HOST}:{server.port}{target}"]
        self.command = " ".join(["ab", *command[1:]])
        # More than the two seconds after which the kernel tries the third time to connect.
        patience = server.patience(seconds=self.seconds + 1.5, idle=2.2, work=self.seconds)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            output, late = printed(process, patience, signal.SIGINT)  # ab then says what it has until now
        self.text = output.decode("utf-8", "replace") + (
            "\n" + say("ab had not finished {when}", when=patience) if late else ""
        )
        self.complete = self.number(r"Complete requests:\s+(\d+)")
        self.failed = self.number(r"Failed requests:\s+(\d+)")
        # A server that closes without a word is "complete" to ab, and nothing has "failed".
        self.body_bytes = self.number(r"HTML transferred:\s+(\d+)")
        self.not_2xx = self.number(r"Non-2xx responses:\s+(\d+)")

    def number(self, pattern):
        found = re.search(pattern, self.text)
        return int(found[1]) if found else 0

    def __str__(self):
        if self.complete:
            return say(
                "{complete} complete, {failed} failed, {not_2xx} other than 2xx, {body_bytes:,} bytes of bodies",
                **vars(self),
            )
        return say("no result, but: {text}", text=" / ".join(list(filter(str.strip, self.text.splitlines()))[-2:]))


class Named(NamedTuple):
    """A cause or a verdict: its key in messages.py, and what to fill in there."""

    key: str
    values: dict = {}


class CheckFailed(pytest.fail.Exception):
    """A check has failed: what a student can act on, without words that depend on the language.

    cause   -- Named: a mistake that has been seen, or confirmed by a second request; None where nothing is certain
    verdict -- Named: what the first look has found; None for any other failure
    server  -- whose output tells more, where no fixture of the check does
    """

    def __init__(self, sent, got, expected, cause=None, verdict=None, server=None):
        super().__init__(f"Sent {sent}, came back {got}. Expected {expected}.", pytrace=False)
        self.sent, self.got, self.expected = str(sent), str(got), str(expected)
        self.answered = not isinstance(got, Answer) or bool(got.status_line)
        self.cause, self.verdict, self.server = cause, verdict, server


class TooLong(Exception):
    """A check has used up its time."""


def check(ok, *, sent, got, expected, cause=None):
    """Fail unless *ok*, with what was sent, what came back and what was expected.

    cause -- called only after a failure: looks for the mistake with further requests, and returns its key in
             messages.py (or a Named), None where nothing is certain
    """
    __tracebackhide__ = True
    if ok:
        return
    try:
        found = cause and cause()
    except TooLong:
        found = None
    raise CheckFailed(sent, got, expected, Named(found) if isinstance(found, str) else found)

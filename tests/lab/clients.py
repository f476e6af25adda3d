"""The clients of the lab check: curl, ab, requests and a raw socket. Each wait and each answer has a bound."""

import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
import requests
import urllib3

from .server import HOST

PATIENCE = 5.0  # seconds for one answer; on the same machine it takes milliseconds
LARGEST = 64 * 1024 * 1024  # bytes of one answer; more is not read


class Answer:
    """What came back for one request: an answer, a part of one, or nothing.

    data -- head and body as received
    note -- why reading ended before the answer was whole, else ""
    """

    def __init__(self, data, note=""):
        head, end_of_head, self.body = data.partition(b"\r\n\r\n")
        self.status_line, *lines = head.decode("latin-1").split("\r\n")
        self.note = note
        known = re.fullmatch(r"HTTP/1\.[01] (\d{3})( .*)?", self.status_line)
        self.status = int(known[1]) if known and end_of_head else None
        self.fields = {}
        for line in lines:
            name, _colon, value = line.partition(":")
            self.fields[name.lower()] = value.strip()

    def __str__(self):
        if not self.status_line:
            return f"nothing ({self.note})"
        if self.status is None:
            return f"{self.status_line[:60]!r}, which is no HTTP answer" + (f" ({self.note})" if self.note else "")
        shown = f"{self.status_line[:80]!r} and {len(self.body):,} bytes of body"
        return f"{shown} ({self.note})" if self.note else shown

    def field(self, name):
        """Return the value of field *name*, "" when it is missing."""
        return self.fields.get(name.lower(), "")

    @property
    def likely_cause(self):
        """Name the mistake that this answer shows by itself, else ""."""
        if self.status and not {"content-length", "transfer-encoding"} & self.fields.keys() and self.note:
            return (
                "keep-alive without length: no Content-Length and no end of the connection show where the answer ends"
            )
        if not self.status_line and ("connection was" in self.note or "Empty reply" in self.note):
            return "an exception while answering; look at the server's output"
        if "Failed to connect" in self.note or "refused" in self.note:
            return "the server has ended by itself; look at its output"
        return ""


def tool(name, package):
    """Return the path of the program *name*; without it the check fails, for it would prove nothing."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"The program {name} is not installed; the lab check needs it ({package}).", pytrace=False)
    return path


def curl(server, target, *options):
    """Ask *server* for *target* (sent as it is, also with `..`) with curl and return the Answer."""
    command = [tool("curl", "apt install curl"), "-q", "-sS", "-i", "--path-as-is", "--noproxy", "*"]
    command += ["--max-time", str(PATIENCE), *options, f"http://{HOST}:{server.port}{target}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        data = process.stdout.read(LARGEST)
        process.stdout.close()
        note = process.stderr.read().decode("utf-8", "replace").strip()
    return Answer(data, note)


@contextmanager
def at_most(seconds):
    """Raise TimeoutError in the block after *seconds*: requests itself only limits each single wait."""

    def too_late(_number, _frame):
        raise TimeoutError(f"not finished after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ask(server, method, target, session=None, **options):
    """Ask *server* with the requests library, as programs do, and return the Answer."""
    if session is None:
        session = requests.Session()
        session.trust_env = False  # no proxy between us and the server
    data = b""
    try:
        with at_most(PATIENCE):
            url = f"http://{HOST}:{server.port}{target}"
            response = session.request(method, url, stream=True, allow_redirects=False, timeout=PATIENCE, **options)
            head = [f"HTTP/1.1 {response.status_code} {response.reason}"]
            head += [f"{name}: {value}" for name, value in response.headers.items()]
            data = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"
            data += response.raw.read(LARGEST)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return Answer(data, f"requests: {error}"[:200])
    return Answer(data)


class Connection:
    """A raw TCP connection to the server; for what the other clients would smooth over."""

    def __init__(self, server, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self.received = b""
        self.note = ""
        self.attempt(self.socket.connect, (HOST, server.port))

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.socket.close()

    def attempt(self, operation, *arguments):
        """Return what *operation* returns; what went wrong is in self.note, and the next read() reports it."""
        try:
            return operation(*arguments)
        except TimeoutError:
            self.note = self.note or f"nothing more within {PATIENCE:g} s"
        except OSError as error:
            self.note = self.note or f"the connection was cut: {error}"
        return b""

    def send(self, data):
        self.attempt(self.socket.sendall, data)

    def receive(self, deadline):
        """Add what arrives to self.received; return False when nothing more will come before *deadline*."""
        if self.note:
            return False
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self.attempt(self.socket.recv, 65536)
        self.received += data
        if not data:
            self.note = self.note or "the connection was closed"
        return bool(data)

    def read(self, method="GET"):
        """Read one answer to a request with *method*; bytes after it stay for the next read()."""
        deadline = time.monotonic() + PATIENCE
        while b"\r\n\r\n" not in self.received and self.receive(deadline):
            pass
        head_end = self.received.find(b"\r\n\r\n") + 4
        length = Answer(self.received).field("Content-Length")
        if method == "HEAD" and head_end >= 4:
            size = head_end
        elif length.isdecimal():
            size = head_end + int(length)
        else:  # no length: it ends with the connection
            size = LARGEST
        chunks, have = [self.received], len(self.received)
        while have < min(size, LARGEST):
            self.received = b""
            if not self.receive(deadline):
                break
            chunks.append(self.received)
            have += len(self.received)
        data = b"".join(chunks)
        self.received = data[size:]
        closed_as_meant = size == LARGEST and self.note == "the connection was closed"
        return Answer(data[:size], "" if len(data) >= size or (data and closed_as_meant) else self.note)

    def ends(self):
        """Return whether the server closes the connection in time, without sending another byte."""
        self.receive(time.monotonic() + PATIENCE)
        return self.note.startswith("the connection was") and not self.received


class ApacheBench:
    """One run of ab against *server*; what it reported, as numbers."""

    def __init__(self, server, target, requests_wanted, *options):
        command = [tool("ab", "apt install apache2-utils"), "-q", "-n", str(requests_wanted), "-c", "100"]
        # -s: without it one lost answer costs half a minute.
        command += ["-s", "10", *options, f"http://{HOST}:{server.port}{target}"]
        self.command = " ".join(["ab", *command[1:]])
        limit = 30 + requests_wanted / 250  # seconds
        lines_before = server.output.lines
        try:
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit)
            self.text = run.stdout
        except subprocess.TimeoutExpired as late:
            self.text = (late.stdout or b"").decode() + f"\nab had not finished after {limit:g} s"
        self.lines_printed = server.output.lines - lines_before
        self.complete = self.number(r"Complete requests:\s+(\d+)")
        self.finished = self.complete or self.number(r"Total of (\d+) requests completed")
        self.failed = self.number(r"Failed requests:\s+(\d+)")
        # A server that closes without a word is "complete" to ab, and nothing has "failed".
        self.body_bytes = self.number(r"HTML transferred:\s+(\d+)")
        self.not_2xx = self.number(r"Non-2xx responses:\s+(\d+)")
        self.longest_connect = self.number(r"Connect:\s+\d+\s+\d+\s+[\d.]+\s+\d+\s+(\d+)")  # milliseconds

    def number(self, pattern):
        found = re.search(pattern, self.text)
        return int(found[1]) if found else 0

    def __str__(self):
        if self.complete:
            return (
                f"{self.complete} complete, {self.failed} failed, {self.not_2xx} answers other than 2xx, "
                f"{self.body_bytes:,} bytes of bodies"
            )
        return "no result, but: " + " / ".join(self.text.strip().splitlines()[-2:])


def check(ok, *, sent, got, expected, rule, cause=""):
    """Fail unless *ok*, with a message a student can act on: what was sent, what came back, what was expected, why."""
    __tracebackhide__ = True
    if ok:
        return
    cause = cause or getattr(got, "likely_cause", "")
    message = f"Sent {sent}, came back {got}. Expected {expected} ({rule})."
    pytest.fail(message + (f" Likely cause: {cause}." if cause else ""), pytrace=False)

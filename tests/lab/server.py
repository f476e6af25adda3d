"""One server under test: started from a command line, watched from outside, stopped with all its processes."""

import fcntl
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
START_PATIENCE = 10.0  # seconds until a server must accept connections
STOP_PATIENCE = 5.0  # seconds until a server must have ended after a signal
PIPE_SIZE = 4096  # bytes that a server may print while nobody reads; the least that Linux knows


class StartFailure(Exception):
    """The command did not lead to a server that accepts connections; the text says why."""


def wait_until(condition, seconds):
    """Return whether *condition()* became true within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def command_line(template, **values):
    """Return *template* as an argument list, its {names} filled in; a leading "python" is the one that runs us.

    The template is split before it is filled in, so a root with spaces stays one argument.
    """
    words = [word.format(**values) for word in shlex.split(template)]
    return [sys.executable if words[0] == "python" else words[0], *words[1:]]


def free_port():
    """Return a port nobody listens on, below the range from which clients (ab: thousands) get theirs."""
    for port in random.sample(range(20000, 32000), 200):
        if port_is_free(port):
            return port
    raise StartFailure("no free port between 20000 and 32000 on this machine")


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
        return True


def group_members(group):
    """Return the ids of the living processes (no zombies) of process group *group*."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True).stdout
        rows = [line.split()[:3] for line in listing.splitlines()]
        return [int(pid) for pid, pgid, state in rows if int(pgid) == group and state[0] != "Z"]
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, pgid = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended while we looked
            continue
        if int(pgid) == group and state != "Z":
            members.append(int(entry.parent.name))
    return members


class Output:
    """What the server prints, always drained (a full pipe would block it) and kept only in part (it may flood)."""

    kept = 64 * 1024  # bytes

    def __init__(self, pipe):
        self.text, self.lines, self.pipe = b"", 0, pipe
        self.is_read = threading.Event()
        self.is_read.set()
        self.reader = threading.Thread(target=self.drain, args=(pipe,), daemon=True)
        self.reader.start()

    def drain(self, pipe):
        with pipe:
            while data := pipe.read1(65536):
                self.lines += data.count(b"\n")
                self.text = (self.text + data)[-self.kept :]
                self.is_read.wait()

    @contextmanager
    def unread(self):
        """Read nothing in the block, like somebody who starts a server with a pipe and forgets it."""
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # elsewhere it holds 64 KiB, and more must be printed to fill it
            with suppress(OSError):  # more than that is waiting in it just now
                fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self.is_read.clear()
        try:
            yield
        finally:
            self.is_read.set()

    def last_lines(self, count=15):
        lines = self.text.decode("utf-8", "replace").splitlines()[-count:]
        return "\n".join(map(shortened, lines)) or "(it printed nothing)"


def shortened(line):
    """Return *line* with its middle left out if it is long: asyncore prints a traceback as one line."""
    return line if len(line) <= 400 else f"{line[:200]} ... {line[-195:]}"


class Server:
    """A command that serves HTTP on a port of its own, in a process group of its own.

    template -- command line with {port} and whatever names *values* has
    Life: running() as often as wanted, each starts it when it does not run; stop() in the end.
    """

    def __init__(self, template, **values):
        self.template, self.values = template, values
        self.process = self.output = self.port = None
        self.start_failure = None

    def running(self):
        """Start the server unless it runs; raise StartFailure. A command that never started is not tried twice."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.start_failure:
            raise StartFailure(self.start_failure)
        self.stop()
        try:
            self.start()
        except StartFailure as failure:
            self.start_failure = str(failure)
            self.stop()
            raise

    def start(self):
        self.port = free_port()
        words = command_line(self.template, port=self.port, **self.values)
        self.command = shlex.join(words)
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailure(f"Could not start `{self.command}`: {error}.") from error
        self.output = Output(self.process.stdout)
        wait_until(lambda: self.accepts() or self.process.poll() is not None, START_PATIENCE)
        if self.process.poll() is not None:
            self.output.reader.join(1)
            raise StartFailure(
                f"`{self.command}` ended at once with exit status {self.process.returncode}; expected a server that "
                f"runs until it is stopped. It printed last:\n{self.output.last_lines()}"
            )
        if not self.accepts():
            raise StartFailure(
                f"`{self.command}` runs, but accepts no connection on {HOST}:{self.port} after {START_PATIENCE:g} s; "
                f"expected it to listen on the port given by --port. It printed last:\n{self.output.last_lines()}"
            )

    def accepts(self):
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def processes(self):
        return group_members(self.process.pid)

    def signal_group(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # the whole group has ended already

    def has_ended(self):
        return self.process.poll() is not None and not self.processes()

    def stop(self):
        """End every process of the group, by force where asking does not help, and forget it."""
        if self.process is None:
            return
        self.signal_group(signal.SIGTERM)
        self.signal_group(signal.SIGCONT)
        if not wait_until(self.has_ended, STOP_PATIENCE):
            self.signal_group(signal.SIGKILL)
            wait_until(self.has_ended, STOP_PATIENCE)
        self.output.reader.join(1)
        self.process = None

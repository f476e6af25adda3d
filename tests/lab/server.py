"""One server under test: started from a command line, watched from outside, stopped with all its processes."""

import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from .messages import say
from .patience import Patience, processes_of, seconds_used
from .quotes import last_exception

HOST = "127.0.0.1"
# What a start and a stop may take: seconds in all, and of processor time (patience.py).
START = {"seconds": 6.0, "work": 4.0}
STOP = {"seconds": 4.0}
# Servers run in a time zone that no machine has, so that local time shows: 5 hours and 45 minutes ahead of UTC.
TIME_ZONE, TIME_ZONE_OFFSET = "LAB-5:45", (5 * 60 + 45) * 60  # seconds
LISTEN, CLOSE_WAIT = "0A", "08"  # states in /proc/net/tcp


class StartFailure(Exception):
    """The command did not lead to a server that accepts connections; the text says why, *verdict* is the short form.

    verdict -- key in messages.py, and what to fill in there
    """

    def __init__(self, verdict, text, **values):
        super().__init__(text)
        self.verdict = verdict, values


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


def first_of_hundred():
    """Return the first of a hundred ports that no other check uses: as long as we run, we hold the last of them.

    They lie below the range from which clients (ab: thousands) get theirs.
    """
    for number in range(120):
        port = 20000 + (os.getpid() + number) % 120 * 100
        with socket.socket() as claim, suppress(OSError):
            claim.bind((HOST, port + 99))
            claim.detach()
            return port
    sys.exit("no hundred free ports from 20000 to 32000")


first_port = first_of_hundred()
ports = itertools.cycle(range(first_port, first_port + 100))


def free_port():
    """Return a port nobody listens on, and nobody has lately: a server without SO_REUSEADDR must start there, too."""
    for port in itertools.islice(ports, 100):
        if port_is_free(port, reuse=0):
            return port
    raise StartFailure("does-not-start", say("no free port among the hundred from {port} on", port=first_port))


def port_is_free(port, reuse=1):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
        return True


def sockets_in_state(port, state):
    """Return how many sockets at *port* are in *state*; None where there is no /proc/net/tcp."""
    if not Path("/proc/net/tcp").exists():
        return None
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    states = [(row.split()[1].rpartition(":")[2], row.split()[3]) for row in rows]
    return states.count((f"{port:04X}", state))


class Output:
    """What the server prints, always drained (a full pipe would block it) and kept only in part (it may flood)."""

    kept = 64 * 1024  # bytes

    def __init__(self, pipe):
        self.text, self.printed = b"", 0  # bytes
        self.is_read = threading.Event()
        self.is_read.set()
        self.reader = threading.Thread(target=self.drain, args=(pipe,), daemon=True)
        self.reader.start()

    def drain(self, pipe):
        with pipe:
            while data := pipe.read1(65536):
                self.text = (self.text + data)[-self.kept :]
                self.printed += len(data)
                self.is_read.wait()

    @contextmanager
    def unread(self):
        """Read nothing in the block, like somebody who starts a server with a pipe and forgets it."""
        self.is_read.clear()
        try:
            yield
        finally:
            self.is_read.set()

    def since(self, printed):
        """Return what is kept of the text after the first *printed* bytes."""
        new = self.printed - printed
        return self.text[-new:].decode("utf-8", "replace") if new > 0 else ""

    def last_lines(self, count=15):
        lines = self.text.decode("utf-8", "replace").splitlines()[-count:]
        return "\n".join(map(shortened, lines))


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
        self.may_be_hurt = False  # a client was left without an answer
        self.mark = 0  # bytes it had printed when the check at hand began
        self.quote = None  # exception of this check, from before a restart

    def running(self):
        """Start the server unless it runs; raise StartFailure. A command that never started is not tried twice."""
        if self.process is None or self.process.poll() is not None:
            if self.start_failure:
                raise self.start_failure
            self.stop()
            try:
                self.start()
            except StartFailure as failure:
                self.start_failure = failure
                self.stop()
                raise

    def begin_check(self):
        """Start the server unless it runs; exception() forgets what was before."""
        self.running()
        self.mark, self.quote = self.output.printed, None

    def start(self, port=None):
        """Start on *port*, by default on a free one."""
        self.port = port or free_port()
        words = command_line(self.template, port=self.port, **self.values)
        self.command = shlex.join(words)
        script = next((word for word in words[1:] if word.endswith(".py")), None)
        if words[0] == sys.executable and script and not Path(script).exists():
            text = say("`{command}`: there is no such file", command=self.command)
            raise StartFailure("missing-program", text, program=Path(script).name)
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "TZ": TIME_ZONE},
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailure("does-not-start", f"`{self.command}`: {error}") from error
        self.output, self.mark, self.may_be_hurt = Output(self.process.stdout), 0, False
        patience = self.patience(**START)
        patience.wait_until(lambda: self.accepts() or self.process.poll() is not None)
        self.started = time.monotonic()
        if self.process.poll() is not None:
            self.output.reader.join(1)
            status = self.process.returncode
            text = say("`{command}` ended at once with exit status {status}", command=self.command, status=status)
            raise StartFailure("does-not-start", text)
        if not self.accepts():
            place = f"{HOST}:{self.port}"
            text = say(
                "`{command}` runs, but nothing listens on {place} {when}",
                command=self.command,
                place=place,
                when=patience,
            )
            raise StartFailure("does-not-listen", text)

    def accepts(self):
        """Return whether somebody listens on our port: without connecting where that can be seen from outside."""
        listening = sockets_in_state(self.port, LISTEN)
        if listening is not None:
            return listening > 0
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def patience(self, **limits):
        """Return a Patience that begins now."""
        return Patience(self.process.pid, **limits)

    def age(self):
        """Return the seconds since it could be asked."""
        return time.monotonic() - self.started

    def exception(self):
        """Return the Quote of the last exception printed since the check at hand began, or None."""
        return (self.output and last_exception(self.output.since(self.mark))) or self.quote

    def processes(self):
        """Return {id: Process} of all that run."""
        return processes_of(self.process.pid)

    def bytes_read(self):
        """Return how many bytes all processes have read until now, from files first of all; None if nobody says."""
        total = 0
        for pid in self.processes():
            try:
                total += int(Path(f"/proc/{pid}/io").read_text().split()[1])  # rchar, proc(5)
            except OSError:
                return None
        return total

    def is_computing(self, seconds=0.5):
        """Return whether one of the processes goes on and on: it uses the processor, as far as others leave it one."""
        before = self.processes()
        time.sleep(seconds)  # the span that is measured
        return any(used > seconds / 20 for used in seconds_used(self.processes(), before))

    def signal_group(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # the whole group has ended already

    def has_ended(self):
        return self.process.poll() is not None and not self.processes()

    def restart(self):
        self.stop()
        self.start()

    def stop(self):
        """Kill every process of the group, and forget it; whether it ends when it is asked to is for a check to say."""
        if self.process is None:
            return
        self.signal_group(signal.SIGKILL)
        wait_until(self.has_ended, STOP["seconds"])
        self.output.reader.join(1)
        self.quote, self.mark = self.exception(), self.output.printed
        self.process = None

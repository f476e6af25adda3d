"""The server's own log, and how its lines reach a file or a reader, even if that is full, stuck or gone.

The application shares the process and may set up Python's logging as it likes. So our records have a logger and a
handler of their own, which no basicConfig() or dictConfig() replaces, silences or doubles. A program that only imports
this package gets them from the logger "httpd" in the usual way, through its own handlers.

Writing a log never holds up the server: lines that cannot be written at once are dropped and counted, and the log says
so later.
"""

import contextlib
import io
import logging
import os
import select
import socket
import stat
import sys
import time

log = logging.getLogger("httpd")

FORMAT = "%(asctime)s %(name)s: %(process)d %(message)s"
TIME_FORMAT = "%Y-%m-%d %H:%M:%S %z"
LOSSES_INTERVAL = 60.0  # seconds between two complaints that lines of one log are lost


class ServerLogger(logging.Logger):
    """A logger that stays on: by default dictConfig() disables every logger that its configuration does not name."""

    @property
    def disabled(self):
        return False

    @disabled.setter
    def disabled(self, value):
        pass


def open_log(level: str, path: str | None = None):
    """Append our records, from *level* on, to the file *path*; None: to stderr. Raise OSError."""
    global _handler
    stderr = LogHandler(Output(2 if sys.stderr is not None else os.devnull))
    _handler = LogHandler(Output(path), complain_to=stderr) if path else stderr
    # Not setLoggerClass(), which holds for the application's loggers, too, and comes too late for this one.
    log.__class__ = ServerLogger
    log.handlers[:] = [_handler]
    log.propagate = False
    log.setLevel(level)


def reopen():
    """Open the log's file again after a rotation that has moved it away. Raise OSError; then the old one stays."""
    _handler.output.reopen()


def is_file() -> bool:
    """Tell whether there is a log besides stderr."""
    return _handler is not None and _handler.complain_to is not None


def descriptor() -> int:
    """Return the descriptor of the log, which never changes, for faulthandler."""
    return _handler.output.fd


def error_stream():
    """Return a text stream into the log, for an application: it must not wait for the log's reader either."""
    if _handler is None:
        return sys.stderr
    return io.TextIOWrapper(io.BufferedWriter(LogFile(_handler)), "utf-8", "backslashreplace", line_buffering=True)


class LogFile(io.RawIOBase):
    """The log as a binary file that is written to."""

    def __init__(self, handler):
        self.handler = handler

    def writable(self):
        return True

    def fileno(self):
        return self.handler.output.fd

    def write(self, data):
        with self.handler.lock:
            self.handler.write(bytes(data))
        return len(data)


class LogHandler(logging.Handler):
    """Writes records to an Output. It reports lost lines there and to *complain_to*, another handler."""

    def __init__(self, output, complain_to=None):
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
        self.output, self.complain_to = output, complain_to
        self.gap = 0  # lines lost since the last one that was written
        self.losses = Seldom(LOSSES_INTERVAL)

    def emit(self, record):
        self.write(self.line(record))

    def write(self, lines):
        lost = self.output.write(lines)
        if lost:
            self.gap += lost
        elif self.gap and not self.output.write(
            self.own_line(f"lines missing before the last: {self.gap}; {self.output.reason}")
        ):
            self.gap = 0
        if self.complain_to and (count := self.losses.note(lost)):
            text = f"cannot write {self.output.path}: {self.output.reason}; lines lost: {count}"
            self.complain_to.write(self.own_line(text))

    def line(self, record):
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def own_line(self, text):
        return self.line(logging.makeLogRecord({"name": log.name, "msg": text}))


class Output:
    """A file or a descriptor that takes lines now or not at all: it never blocks, and it raises nothing.

    path -- absolute path of the file to append to, made if it is missing; None: a descriptor was given
    fd -- where it is open; reopen() does not change the number
    reason -- why the last lost lines could not be written

    Several processes may append to one file or pipe, and their lines stay whole. On a full disk a line that does not
    fit is taken back. Only in a pipe can a line of more than PIPE_BUF bytes mix with others.
    """

    def __init__(self, target: str | int):
        # Absolute, since the application may change the directory.
        self.path = os.path.abspath(target) if isinstance(target, str) else None
        self.fd = open_to_append(self.path) if self.path else own_description(target)
        self.reason = ""
        self.torn = False  # is the last line incomplete?
        self._look()

    def reopen(self):
        """Open the file again after a rotation that has moved it away. Raise OSError; then the old one stays."""
        if self.path:
            fd = open_to_append(self.path)
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
            self._look()

    def _look(self):
        mode = os.fstat(self.fd).st_mode
        self.is_file = stat.S_ISREG(mode)
        self.socket = socket.socket(fileno=os.dup(self.fd)) if stat.S_ISSOCK(mode) else None
        self.must_ask = not self.is_file and os.get_blocking(self.fd)

    def write(self, lines: bytes) -> int:
        """Write *lines*, each with its end; return how many are lost."""
        done = 0
        try:
            if self.torn:
                self._send(b"\n")
                self.torn = False
            if self.is_file:
                done = os.write(self.fd, lines)  # nearly always all of them
            while done < len(lines):
                done += self._send(lines[done : self._piece_end(lines, done)])
        except OSError as error:
            slow = isinstance(error, BlockingIOError)
            self.reason = "its reader does not keep up" if slow else os.strerror(error.errno)
            whole = lines.rfind(b"\n", 0, done) + 1
            if done > whole:
                self.torn = not self._take_back(done - whole)
            return lines.count(b"\n", whole)
        return 0

    def _piece_end(self, lines, start):
        """Return where to cut: a pipe takes PIPE_BUF bytes whole or not at all, a file takes everything."""
        stop = start + select.PIPE_BUF
        if self.is_file or len(lines) <= stop:
            return len(lines)
        return lines.rfind(b"\n", start, stop) + 1 or stop

    def _send(self, data):
        if self.socket:
            return self.socket.send(data, socket.MSG_DONTWAIT)
        if self.must_ask:
            poller = select.poll()
            poller.register(self.fd, select.POLLOUT)
            if not poller.poll(0):
                raise BlockingIOError
        return os.write(self.fd, data)

    def _take_back(self, count):
        """Cut our last *count* bytes off the file; return False if it is none, or others wrote behind them."""
        with contextlib.suppress(OSError):
            end = os.lseek(self.fd, 0, os.SEEK_CUR)
            if self.is_file and os.fstat(self.fd).st_size == end:
                os.ftruncate(self.fd, end - count)
                os.lseek(self.fd, end - count, os.SEEK_SET)  # stdout need not be in append mode
                return True
        return False


def open_to_append(path):
    # O_NONBLOCK is for a named pipe.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o640)


def own_description(fd):
    """Return a non-blocking descriptor of the pipe or terminal behind *fd*; *fd* itself where there is none.

    O_NONBLOCK belongs to the open file, not to the descriptor: set on *fd* it would also affect our shell and our
    children. So the file is opened once more, which needs /proc (Linux) and a pipe that our user may open. Without
    these we ask whether there is room; then we wait only if another process takes the room first.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError):
            return os.open(
                f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            )
    return fd


# At most one line a second for each kind of event.


class Seldom:
    """Counts events of one kind, and says when to report them: at most once in *interval* seconds."""

    def __init__(self, interval):
        self.interval, self.count, self.speak_at = interval, 0, 0.0

    def note(self, number=1):
        """Count *number* more events; return how many to report now, 0 for none."""
        self.count += number
        now = time.monotonic()
        if not self.count or now < self.speak_at:
            return 0
        self.speak_at = now + self.interval
        return self.take()

    def take(self):
        """Return how many have not been reported, and forget them."""
        count, self.count = self.count, 0
        return count


def warn_seldom(message, *arguments):
    """Log a warning that may come by the thousand: at most one a second of each kind, with a count.

    message -- the kind: a text with %s for *arguments*, as in log.warning(); never text from the wire
    """
    seldom, _ = _kinds.setdefault(message, (Seldom(1.0), arguments))
    _kinds[message] = seldom, arguments
    _speak(message, seldom.note())


def tell_kept_back(all=False):
    """Log what warn_seldom() has held back for a second, or *all* of it; called once a second and at the end."""
    for message, (seldom, _) in list(_kinds.items()):
        _speak(message, seldom.take() if all else seldom.note(0))


def _speak(message, count):
    if count:
        text = message % _kinds[message][1]
        log.warning("%s", f"{text} ({count} times)" if count > 1 else text)


_handler: LogHandler | None = None  # the process has one log
_kinds: dict[str, tuple[Seldom, tuple]] = {}  # what warn_seldom() has met, and the last arguments

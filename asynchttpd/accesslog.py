"""The access log: one line for each response, safe to read and safe to lose.

Safe to read: what comes from the wire cannot end a line, forge another or colour a terminal. Safe to lose: a full
disk or a reader that has stopped reading never holds up the server; lines are dropped, and counted.
Each line is one write() in append mode, so that many processes can share one file.
"""

import functools
import os
import re
import select
import stat
import sys
import time
from collections import namedtuple

TEXT_LIMIT = 1024  # characters kept of one text from the wire
UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and of that '"' and "\"
FIELDS = "time client request_line status sent referer user_agent duration worker aborted"


class Entry(namedtuple("Entry", FIELDS)):
    """One response. Texts are as the client sent them, latin-1; "" for what it did not send.

    time -- when it ended, seconds since 1970; duration -- seconds since the request's head was complete;
    sent -- bytes, head included; aborted -- was the connection lost, or cut, before the end?
    """

    __slots__ = ()


def combined(entry: Entry) -> str:
    """Return Apache's "combined" line, then duration, worker and "aborted" or "-"."""
    return (
        f'{entry.client} - - [{moment(int(entry.time))}] "{escaped(entry.request_line)}" {entry.status} {entry.sent}'
        f' "{escaped(entry.referer)}" "{escaped(entry.user_agent)}"'
        f" {entry.duration:.6f} {entry.worker} {'aborted' if entry.aborted else '-'}\n"
    )


@functools.lru_cache(maxsize=4)
def moment(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def as_json(entry: Entry) -> str:
    """Return the entry as one line of JSON."""
    import json

    return (
        json.dumps(
            {name: text[:TEXT_LIMIT] if isinstance(text, str) else text for name, text in entry._asdict().items()}
        )
        + "\n"
    )


FORMATS = {"combined": combined, "json": as_json}


def escaped(text: str) -> str:
    r"""Return *text* fit to stand between quotes in a log; "-" for nothing.

    >>> print(escaped('a"b\n\x1b[31m'))
    a\x22b\x0a\x1b[31m
    """
    if UNSAFE.search(text):
        text = UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text[:TEXT_LIMIT])
    return text[:TEXT_LIMIT] or "-"


class AccessLog:
    """Writes entries to the file *path*, "-" for stdout, in one of FORMATS. Raise OSError if it cannot be opened."""

    complaint_interval = 60.0  # seconds between two words on stderr about lost lines

    def __init__(self, path: str, format: str = "combined"):
        self.path, self.format = path, FORMATS[format]
        self.fd = None
        self.dropped, self.complain_at = 0, 0.0
        self.reopen()

    def reopen(self):
        """Open the file again, as after a rotation that moved it away."""
        if self.path == "-":
            self.fd = 1
        else:
            # O_NONBLOCK is for a named pipe: room that select() has seen another process may fill before we write.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            fd = os.open(self.path, flags, 0o640)
            if self.fd is None:
                self.fd = fd
            else:
                os.dup2(fd, self.fd, inheritable=False)
                os.close(fd)
        self.may_block = not stat.S_ISREG(os.fstat(self.fd).st_mode)

    def write(self, entry: Entry):
        line = self.format(entry).encode("ascii")
        try:
            # A pipe that says it is writable takes PIPE_BUF bytes at once.
            if self.may_block and (len(line) > select.PIPE_BUF or not select.select([], [self.fd], [], 0)[1]):
                raise BlockingIOError("the reader is too slow, or the line too long")
            if os.write(self.fd, line) < len(line):
                raise OSError("the disk is full")
        except OSError as error:
            self.drop(error)

    def drop(self, error):
        self.dropped += 1
        if time.monotonic() >= self.complain_at:
            self.complain_at = time.monotonic() + self.complaint_interval
            try:
                # Not print(): that would write the end of the line apart, and other processes write here, too.
                sys.stderr.write(f"access log: {error}; {self.dropped} lines lost so far\n")
            except OSError:
                pass  # stderr is gone, too; the server is not

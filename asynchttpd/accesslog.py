"""The access log: one line for each response, safe to read and safe to lose.

Safe to read: text from the wire cannot end a line, forge another or colour a terminal. Safe to lose: a full disk, or a
reader that has stopped reading, never holds up the server; lines are dropped and counted. Each write() appends whole
lines, so that many processes can share one file (logs.py).
"""

import functools
import os
import re
import time
from collections import namedtuple

from asynchttpd import logs
from asynchttpd.logs import log

# Characters of one text from the wire in a line, so that each line fits whole into a pipe: with a longer text a client
# could keep its request out of the log.
TEXT_LIMIT = 1024
UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and of that '"' and "\"
FIELDS = "time client request_line status body_sent sent referer user_agent duration worker aborted"


class Entry(namedtuple("Entry", FIELDS)):
    """One response. Texts are as the client sent them, latin-1; "" for what it did not send.

    time -- when it ended, seconds since 1970; duration -- seconds since the request's head was complete;
    body_sent, sent -- bytes, without and with the head; as with nginx, the framing of chunks counts as body
    aborted -- was the connection lost, or cut, before the end?
    """

    __slots__ = ()


def entry_of(handler, aborted) -> Entry:
    """Return the entry for the answer of *handler* (httpd.HTTPChannel) that has just been sent, or cut off."""
    headers = handler.headers or {}
    understood = handler.headers is not None  # else there was no request, or none that could be read
    return Entry(
        time=time.time(),
        client=handler.client_address(),
        request_line=f"{handler.command} {handler.path} {handler.request_version}" if understood else "",
        status=handler.status,
        body_sent=max(0, handler.bytes_sent - handler.head_size),
        sent=handler.bytes_sent,
        referer=headers.get("referer", ""),
        user_agent=headers.get("user-agent", ""),
        duration=time.monotonic() - handler.began if understood else 0.0,
        worker=os.getpid(),
        aborted=aborted,
    )


def combined(entry: Entry) -> str:
    """Return Apache's "combined" line, then duration, worker and "aborted" or "-"."""
    return (
        f'{entry.client} - - [{moment(int(entry.time))}] "{escaped(entry.request_line)}" {entry.status}'
        f' {entry.body_sent} "{escaped(entry.referer)}" "{escaped(entry.user_agent)}"'
        f" {entry.duration:.6f} {entry.worker} {'aborted' if entry.aborted else '-'}\n"
    )


@functools.lru_cache(maxsize=4)
def moment(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def as_json(entry: Entry) -> str:
    """Return the entry as one line of JSON."""
    import json

    return (
        json.dumps({name: fit(text) if isinstance(text, str) else text for name, text in entry._asdict().items()})
        + "\n"
    )


def fit(text: str) -> str:
    r"""Return as much of *text* as JSON writes in TEXT_LIMIT characters: one can take six, as in \u001b."""
    safe = TEXT_LIMIT // 6
    if len(text) <= safe:
        return text
    import json

    return text if len(json.dumps(text)) <= TEXT_LIMIT else text[:safe]


FORMATS = {"combined": combined, "json": as_json}


def escaped(text: str) -> str:
    r"""Return *text* fit to stand between quotes in a log, at most TEXT_LIMIT characters of it; "-" for nothing.

    >>> print(escaped('a"b\n\x1b[31m'))
    a\x22b\x0a\x1b[31m
    """
    text = text[:TEXT_LIMIT]
    if UNSAFE.search(text):
        whole = UNSAFE.sub(hexadecimal, text)
        return whole if len(whole) <= TEXT_LIMIT else UNSAFE.sub(hexadecimal, text[: TEXT_LIMIT // 4])
    return text or "-"


def hexadecimal(match):
    return f"\\x{ord(match[0]):02x}"


class AccessLog:
    """Writes entries to the file *path*, "-" for stdout, in one of FORMATS. Raise OSError if it cannot be opened.

    write() collects, flush() writes: the loop calls it at the end of each turn, one system call for all its answers.
    """

    most_lines = 500  # collected: a turn may be long

    def __init__(self, path: str, format: str = "combined"):
        self.format = FORMATS[format]
        self.output = logs.Output(1 if path == "-" else path)
        self.lines = []
        self.losses = logs.Seldom(logs.LOSSES_INTERVAL)

    def write(self, entry: Entry):
        self.lines.append(self.format(entry))
        if len(self.lines) >= self.most_lines:
            self.flush()

    def flush(self):
        if self.lines:
            lines, self.lines = self.lines, []
            if lost := self.output.write("".join(lines).encode("ascii")):
                self.complain(self.losses.note(lost))

    def complain(self, count):
        if count:
            log.error("access log: %s; lines lost: %d", self.output.reason, count)

    def reopen(self):
        """Open the file again after a rotation that has moved it away. Raise OSError; then the old one stays."""
        self.output.reopen()  # collected lines go to the new file: the old one may be about to be compressed

    def close(self):
        """Write and say what is still to be written and said; the process is about to end."""
        self.flush()
        self.complain(self.losses.take())

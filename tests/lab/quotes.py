"""The exception that a server has printed: its class and message, and where in the student's code it was raised."""

import re
from typing import NamedTuple

FRAME = re.compile(r'^ *File "([^"]+)", line (\d+)', re.M)
LAST_LINE = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Refused|Timeout|[a-z]error))(?:: (.*))?$", re.M)
# asyncore prints a traceback as one line.
ASYNCORE = re.compile(r"\(<class '([\w.]+)'>:(.*?) ((?:\[[^\[\]|]+\|[^|\]]+\|\d+\] ?)+)\)", re.S)
ASYNCORE_FRAME = re.compile(r"\[([^\[\]|]+)\|[^|\]]+\|(\d+)\]")
NOT_THE_STUDENTS = re.compile(r"/lib/python3|site-packages|^<")


class Quote(NamedTuple):
    name: str
    message: str
    file: str
    line: int

    def __str__(self):
        what = f"{self.name}: {self.message}" if self.message else self.name
        return f"{what} ({self.file}, line {self.line})"


def last_exception(text):
    """Return the Quote of the last exception in *text*, what a server has printed; None when there is none."""
    found = [(match.start(), match[1], match[2], ASYNCORE_FRAME.findall(match[3])) for match in ASYNCORE.finditer(text)]
    start = 0
    for match in LAST_LINE.finditer(text):
        if frames := FRAME.findall(text[start : match.start()]):
            found.append((match.start(), match[1], match[2] or "", frames))
            start = match.end()
    if not found:
        return None
    _position, name, message, frames = max(found)
    file, line = ([frame for frame in frames if not NOT_THE_STUDENTS.search(frame[0])] or frames)[-1]
    return Quote(name.rpartition(".")[2], message.strip()[:300], file.rpartition("/")[2], int(line))

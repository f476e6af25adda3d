"""Load the corpus of raw requests in tests/requests.

The file format is told in tests/requests/README.md. Bytes and expectations
only: nothing here opens a socket or imports the server.
"""

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("requests")
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
KEYS = {"title", "source", "expect", "body", "h11"}
SOURCE = re.compile(r"(RFC 911[02] [A-C0-9]\d*(\.\d+)*|attack [A-K]\d+|fault [A-Z]\d+|limits|lab)")
ANSWER = re.compile(r"(?P<head>HEAD:)?(?P<statuses>(?:\d{3}|-)(?:\|(?:\d{3}|-))*)(?:\*(?P<times>\d+))?")
ENDS = {"open": {"open"}, "closed": {"closed"}, "open|closed": {"open", "closed"}}
TOKEN = re.compile(
    r"\\(?P<letter>[rnt\\])"
    r"|\\x(?P<hex>[0-9a-f]{2})"
    r'|\{"(?P<text>[^"]*)" \* (?P<times>\d+)\}'
    r"|\{(?P<mark>canary|wait|eof)\}"
    r"|(?P<plain>[^\\{}])",
)
LETTERS = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


class Entry(NamedTuple):
    """One file of the corpus: what to send and what must come back."""

    name: str  # "valid/get-origin-form"
    title: str
    source: str
    expect: str  # as written, for messages
    statuses: re.Pattern  # of all answers, each followed by a space: "100 200 "
    heads: frozenset  # indexes of the final answers that answer a HEAD
    ends: set  # {"open"}, {"closed"} or both
    bodies: list  # bytes of each 200 that has a body; empty: not compared
    h11: str  # how h11 judges otherwise, and why; empty: it agrees
    parts: list  # bytes; after each but the last the client waits for an answer
    half_close: bool  # the client then shuts its sending side


def load(folder: Path = FOLDER) -> list[Entry]:
    """Return all entries, sorted by name. Raise ValueError naming the first bad file."""
    entries = []
    for path in sorted(folder.glob("*/*.http")):
        name = f"{path.parent.name}/{path.stem}"
        try:
            entries.append(parse_entry(name, path.read_text("ascii")))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return entries


def parse_entry(name: str, text: str) -> Entry:
    """Return the entry written in *text*. Raise ValueError for anything but the format."""
    comments, rest = re.fullmatch(r"((?:#[^\n]*\n)*)(.*)", text, re.DOTALL).groups()
    values = {key: [] for key in KEYS}
    for line in comments.splitlines():
        key, value = re.fullmatch(r"# (\w+): (.*)", line).groups()
        if key not in KEYS or (values[key] and key != "body"):
            raise ValueError(f"unknown or second {key!r}")
        values[key].append(value)
    title, source, expect = values["title"] + values["source"] + values["expect"]
    if not re.fullmatch(f"{SOURCE.pattern}(; {SOURCE.pattern})*", source):
        raise ValueError(f"source {source!r} is no RFC section nor attack row")
    if re.search(r"[ \t]$", rest, re.MULTILINE):
        raise ValueError(r"blank at the end of a line: write \x20")
    statuses, heads, ends = parse_expect(expect)
    parts, half_close = parse_request(rest)
    bodies = [unescape(body) for body in values["body"]]
    return Entry(
        name, title, source, expect, statuses, heads, ends, bodies, "".join(values["h11"]), parts, half_close
    )  # fmt: skip


def parse_expect(expect: str) -> tuple[re.Pattern, frozenset, set]:
    """Return what "100|- 200 HEAD:200*2 closed" asks for: statuses, HEAD indexes, ends."""
    *answers, end = expect.split()
    pattern, heads, index = "", set(), 0
    for answer in answers:
        match = ANSWER.fullmatch(answer)
        if not match:
            raise ValueError(f"bad answer {answer!r} in expect")
        alternatives = match["statuses"].split("|")
        optional = "?" if "-" in alternatives else ""
        numbers = "|".join(status for status in alternatives if status != "-")
        for _ in range(int(match["times"] or 1)):
            pattern += f"(?:(?:{numbers}) ){optional}"
            if not numbers.startswith("1"):  # interim answers are not counted
                if match["head"]:
                    heads.add(index)
                index += 1
    if end not in ENDS:
        raise ValueError(f"expect must end with one of {list(ENDS)}")
    return re.compile(pattern), frozenset(heads), ENDS[end]


def parse_request(text: str) -> tuple[list[bytes], bool]:
    """Return the parts between {wait} marks, and whether {eof} ends the last one."""
    text = text.replace("\n", "")
    half_close = text.endswith("{eof}")
    parts = [unescape(part) for part in text.removesuffix("{eof}").split("{wait}")]
    return parts, half_close


def unescape(text: str) -> bytes:
    r"""Return the bytes that *text* stands for: \r \n \t \\ \xNN {"ab" * 3} {canary}."""
    pieces, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match or match["mark"] in ("wait", "eof"):
            raise ValueError(f"cannot read {text[position : position + 20]!r}")
        position = match.end()
        if match["letter"]:
            pieces.append(LETTERS[match["letter"]])
        elif match["hex"]:
            pieces.append(bytes.fromhex(match["hex"]))
        elif match["times"]:
            pieces.append(unescape(match["text"]) * int(match["times"]))
        elif match["mark"]:
            pieces.append(CANARY)
        else:
            pieces.append(match["plain"].encode("ascii"))
    return b"".join(pieces)

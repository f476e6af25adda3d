"""One look at the plainest page. If that fails, nothing else is guessed: the verdict says what is wrong, once."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from .clients import Connection, exchange, request
from .messages import say
from .patience import IDLE
from .server import wait_until
from .site import FILES

PAGE = FILES["page.html"]
CLOSE = "Connection: close"


class Verdict(NamedTuple):
    key: str  # of "verdicts" in messages.py
    sent: str
    got: object


def look_at_files(server):
    """Return the Verdict on a running file server, None when its plainest page can be read."""
    page, other = two_at_once(server, "/page.html", "/")
    sent = "GET /page.html"
    if key := unreadable(server, page, other):
        return Verdict(key, sent, page)
    if page.status == 200 and PAGE in page.body:
        if never_ends(server, page):
            return Verdict("never-ends", say("{sent} with {field!r}", sent=sent, field=CLOSE), page)
        return None
    if ignores_root(server):
        return Verdict("ignores-root", sent, page)
    if page.status != 200:
        return Verdict("serves-no-file", sent, page)
    others = [exchange(server, target) for target in ("/dir/", "/no-such-file.html")]
    same = all(answer.status == 200 and answer.body == page.body for answer in others)
    return Verdict("same-page", "GET /page.html, /dir/, /no-such-file.html", page) if same else None


def look_at_application(server):
    """Return the Verdict on a running WSGI server, None when its answer can be read."""
    page, other = two_at_once(server, "/", "/page.html")
    if key := unreadable(server, page, other):
        return Verdict(key, "GET /", page)
    if never_ends(server, page, "/"):
        return Verdict("never-ends", say("{sent} with {field!r}", sent="GET /", field=CLOSE), page)
    return None


def two_at_once(server, *targets):
    """Return the answers for two targets, on a connection each: a dead server is waited for once."""
    with Connection(server) as first, Connection(server) as second:
        for client, target in zip((first, second), targets, strict=True):
            client.send(request(target))
        answer = first.read()
        return answer, second.read(idle=IDLE if answer.status_line else 0.3)


def unreadable(server, page, other):
    """Return the key of what keeps every client from reading *page*, None when nothing does."""
    if not page.status_line:
        if wait_until(lambda: server.process.poll() is not None or not server.accepts(), 0.5):
            return "ends-at-first-request"
        return "does-not-answer" if not other.status_line else "serves-no-file"
    if page.status is None and other.status is None:
        if b"\n\n" in page.data and page.data.startswith(b"HTTP/1."):
            return "bare-newlines"
        return "head-without-end" if page.data.startswith(b"HTTP/1.") else "does-not-answer"
    return None


def never_ends(server, page, target="/page.html"):
    """Return whether the end of *page* cannot be seen, even when the client asks for the end of the connection."""
    return bool(page.note) and bool(exchange(server, target, CLOSE).note)


def ignores_root(server):
    """Return whether a file of the folder that the server was started in is served, instead of those in the root."""
    for entry in sorted(os.scandir("."), key=lambda entry: entry.name):
        if entry.is_file() and re.fullmatch(r"\w[\w.]*", entry.name, re.ASCII):
            if content := Path(entry.path).read_bytes():
                return content in exchange(server, f"/{entry.name}", CLOSE).body
    return False

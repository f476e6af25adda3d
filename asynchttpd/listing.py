"""A folder as a page or as JSON: the entries of scandir() in, fields and bytes out.

The page works without script, on a phone, and in dark mode. Names are hostile text: a client that may upload a file may
choose its name. So every name is escaped in the text, and percent-encoded in the link.
"""

import html
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

PAGE_LIMIT = 2000  # entries of one page
FOLDER_LIMIT = 20_000  # entries of a folder that are read and sorted: the loop stands still for some 50 ms

# Pictures of control characters, and U+FFFD for what would turn "ev\u202egnp.exe" into "evexe.png" on the screen.
VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}
VISIBLE |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }}
h1, a {{ overflow-wrap: anywhere; white-space: pre-wrap }}
h1 {{ font-size: 1.25rem; margin: .5rem }}
table {{ border-collapse: collapse; width: 100% }}
tr {{ border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent) }}
th, td {{ padding: .4rem .5rem; text-align: right; white-space: nowrap }}
th {{ font-weight: 600 }}
td {{ vertical-align: top; font-variant-numeric: tabular-nums }}
th:first-child, td:first-child {{ text-align: left; white-space: normal; width: 100% }}
td + td, p {{ color: color-mix(in srgb, currentColor 65%, transparent) }}
tbody tr:hover {{ background: color-mix(in srgb, currentColor 5%, transparent) }}
a {{ display: block; text-decoration: none }}
a:hover, a:focus {{ text-decoration: underline }}
p {{ margin: 1rem .5rem }}
p a {{ display: inline; margin-left: 1rem }}
@media (max-width: 40rem) {{ td:nth-child(3), th:nth-child(3) {{ display: none }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
<thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p>{note}</p>
</body>
</html>
"""
ROW = '<tr><td><a href="{link}">{name}</a></td><td>{size}</td><td>{modified}</td></tr>'


class Entry(NamedTuple):
    name: str  # bytes that are not UTF-8 are lone surrogates, as os.fsdecode() makes them
    is_folder: bool
    size: int  # bytes
    mtime: float  # seconds since 1970


class Page(NamedTuple):
    entries: list[Entry]
    number: int  # of this page, from 1
    count: int  # of all pages
    total: int  # entries of all pages
    is_cut: bool  # has the folder more than FOLDER_LIMIT?


def page_number(target: str) -> int:
    """Return the page that the query of *target* asks for; without one, or with a senseless one, the first."""
    text = urllib.parse.parse_qs(target.partition("?")[2]).get("page", [""])[0]
    return int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else 1


def answer(path: str, page: Page, accept: str) -> tuple[dict[str, str], bytes]:
    """Return (fields, body): the *page* of the folder at the decoded URL *path*, as HTML or as JSON.

    accept -- the client's Accept: JSON goes to those who ask for it and take no HTML
    """
    fields = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",  # there is no validator to ask again with
        "Vary": "Accept",
    }
    if "application/json" not in accept or "text/html" in accept:
        return fields, as_html(path, page)
    del fields["Content-Security-Policy"]
    return fields | {"Content-Type": "application/json"}, as_json(page)


def read_folder(fd: int, is_listed: Callable[[os.DirEntry], bool], target: str = "") -> Page:
    """Return the page that *target* asks for, or else the last, of the folder that is open as *fd*.

    is_listed -- function that tells whether an entry is shown

    Folders come first, then names in order. If there are more than FOLDER_LIMIT entries, only those that the system
    names first count. Size and date are looked up for this page only. Raise OSError if the folder cannot be read.
    """
    names, is_cut = [], False
    with os.scandir(fd) as found:
        for entry in found:
            try:
                if not is_listed(entry):
                    continue
                if is_cut := len(names) == FOLDER_LIMIT:
                    break
                names.append((not entry.is_dir(), entry.name.lower(), entry.name, entry))
            except OSError:
                continue  # a symbolic link that leads back to itself
    names.sort(key=lambda row: row[:3])
    count = max(-(-len(names) // PAGE_LIMIT), 1)
    number = min(page_number(target), count)
    entries = []
    for is_file, _, name, entry in names[(number - 1) * PAGE_LIMIT : number * PAGE_LIMIT]:
        try:
            facts = entry.stat()
        except OSError:
            continue  # deleted meanwhile
        entries.append(Entry(name, not is_file, facts.st_size, facts.st_mtime))
    return Page(entries, number, count, len(names), is_cut)


def as_html(path: str, page: Page) -> bytes:
    """Return the *page* of the folder at the decoded URL *path*."""
    rows = [] if path == "/" else [ROW.format(link="../", name="../", size="", modified="")]
    for entry in page.entries:
        name = entry.name + "/" * entry.is_folder
        rows.append(
            ROW.format(
                # "./" keeps a name such as "javascript:alert(1)" from being a scheme.
                link="./" + urllib.parse.quote(os.fsencode(name)),
                name=html.escape(visible(name)),
                size="" if entry.is_folder else human_size(entry.size),
                modified=utc(entry.mtime),
            )
        )
    text = PAGE.format(title=html.escape(visible(path)), rows="\n".join(rows), note=note(page))
    return text.encode("utf-8")


def note(page: Page) -> str:
    """Return the line below the entries: how many there are, how many are not shown, and links to the other pages."""
    total = f"more than {page.total}" if page.is_cut else page.total
    if page.count == 1:
        return f"Entries: {total}"
    first = (page.number - 1) * PAGE_LIMIT + 1
    last = min(page.number * PAGE_LIMIT, page.total)
    text = f"Entries {first} to {last} of {total}; {page.total - (last - first + 1)} are on other pages."
    if page.number > 1:
        text += f' <a href="?page={page.number - 1}">Previous</a>'
    if page.number < page.count:
        text += f' <a href="?page={page.number + 1}">Next</a>'
    return text


def as_json(page: Page) -> bytes:
    """Return {"entries": [{"name", "type", "size", "mtime"} ...], "truncated", "page", "pages", "total"}.

    truncated -- does the folder have entries that are not in this answer?
    """
    rows = [
        {
            "name": printable(entry.name),
            "type": "directory" if entry.is_folder else "file",
            "size": entry.size,
            "mtime": entry.mtime,
        }
        for entry in page.entries
    ]
    is_part = page.is_cut or page.count > 1
    facts = {"truncated": is_part, "page": page.number, "pages": page.count, "total": page.total}
    return json.dumps({"entries": rows, **facts}, ensure_ascii=False).encode("utf-8")


def printable(name: str) -> str:
    """Return *name* with a replacement character for each byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def visible(name: str) -> str:
    """Return *name* so that it cannot deceive a reader: control characters and changes of direction become visible."""
    return printable(name).translate(VISIBLE)


def human_size(size: float) -> str:
    """
    >>> human_size(999), human_size(1536), human_size(2**40)
    ('999 B', '1.5 KiB', '1.0 TiB')
    """
    if size < 1000:
        return f"{size} B"
    units = iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    while size >= 1000:
        size, unit = size / 1024, next(units)
    return f"{size:.1f} {unit}"


def utc(seconds: float) -> str:
    """Return a time such as "2026-11-24 12:00", or "" for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""

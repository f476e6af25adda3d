"""Validators, preconditions, ranges and content codings (RFC 9110 sections 8.8, 12.5.3, 13 and 14).

Values in, decisions out: this module reads no file and no clock, and sends nothing.
To serve a file, call entity_tag, last_modified and select_parts. The other functions do the work for these.

*fields* maps lower-case field names to text decoded as latin-1, several lines of one field joined by ", ".
*etag* is a strong entity tag; *mtime* and *now* are seconds since 1970. Byte ranges are half-open,
(start, stop), and inclusive only on the wire. A field that makes no sense is ignored and is no error,
with one exception: an If-Match that we cannot read still protects the file, with 412.
"""

import functools
import math
import re
import time
from collections.abc import Mapping, Sequence

Fields = Mapping[str, str]

FIRST_SECOND, END_OF_TIME = -62135596800, 253402300800  # of the years 1 to 9999, half-open
FIFTY_YEARS = 50 * 31556952  # seconds

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# In no pattern can two repeats side by side take the same character, so hostile input costs linear time.
# [0-9] and not \d, which also takes digits of other scripts.
DAY = f"(?:{'|'.join(DAYS)})"
LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
MONTH = f"(?P<month>{'|'.join(MONTHS)})"
CLOCK = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
# Few requests have a date, so these are compiled when the first one comes.
IMF_FIXDATE = f"{DAY}, (?P<day>[0-9]{{2}}) {MONTH} (?P<year>[0-9]{{4}}) {CLOCK} GMT"
RFC_850_DATE = f"{LONG_DAY}, (?P<day>[0-9]{{2}})-{MONTH}-(?P<year>[0-9]{{2}}) {CLOCK} GMT"
ASCTIME_DATE = f"{DAY} {MONTH} (?P<day>[0-9 ][0-9]) {CLOCK} (?P<year>[0-9]{{4}})"
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(TAG)
TAG_LIST = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
RANGES_LIMIT = 16  # ranges of one request; above it the whole file is sent
RANGE = re.compile("([0-9]*)-([0-9]*)")
CODINGS = re.compile(
    r"(?:\A|(?<=,))[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*"
    r"(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?(?=,|\Z)"
)


class RangeNotSatisfiable(Exception):
    """Nothing of the range lies inside the representation (RFC 9110 section 15.5.17)."""


def select_parts(
    method: str, fields: Fields, etag: str, mtime: float, size: int, now: float
) -> tuple[int, list[tuple[int, int]]]:
    """Return (status, ranges): how to answer a request for a file of *size* bytes, and with which of them.

    200 is all of them, 206 one or more ranges; 304, 412 and 416 send none. Ask only when the answer would be
    200 without these fields (RFC 9110 section 13.2.1).

    >>> select_parts("GET", {}, '"v1"', 0, 1000, now=60)
    (200, [(0, 1000)])
    >>> select_parts("GET", {"range": "bytes=900-, 0-9"}, '"v1"', 0, 1000, now=60)
    (206, [(900, 1000), (0, 10)])
    """
    if fields.keys().isdisjoint(("if-none-match", "if-modified-since", "range", "if-match", "if-unmodified-since")):
        return 200, [(0, size)]  # nearly every request: no need to ask each function below
    status = evaluate_preconditions(method, fields, etag, mtime, now)
    if status != 200:
        return status, []
    try:
        parts = requested_ranges(method, fields, etag, mtime, size, now)
    except RangeNotSatisfiable:
        return 416, []
    return (206, parts) if parts else (200, [(0, size)])


def evaluate_preconditions(method: str, fields: Fields, etag: str, mtime: float, now: float) -> int:
    """Return 200 (go on), 304 (Not Modified) or 412 (Precondition Failed), in the order of RFC 9110 section 13.2.2.

    >>> evaluate_preconditions("GET", {"if-none-match": 'W/"v1", "v0"'}, '"v1"', 0, now=60)
    304
    """
    safe = method in ("GET", "HEAD")
    # A date counts only if there is no field with tags, not if there is one that we cannot read.
    if "if-match" in fields:
        if not names_tag(fields["if-match"], etag, weak=False):
            return 412
    elif modified_since(fields.get("if-unmodified-since"), mtime, now):
        return 412
    if "if-none-match" in fields:
        if names_tag(fields["if-none-match"], etag, weak=True):
            return 304 if safe else 412
    elif safe and modified_since(fields.get("if-modified-since"), mtime, now) is False:
        return 304
    return 200


def names_tag(field: str, etag: str, weak: bool) -> bool:
    """Tell whether *field*, "*" or a list, names *etag*; *weak*: may W/"x" stand for "x" (section 8.8.3.2)?"""
    if field in (etag, "*"):
        return True
    if not TAG_LIST.fullmatch(field):  # not split at commas: a tag may contain them
        return False
    tags = TAGS.findall(field)
    return etag in tags or (weak and f"W/{etag}" in tags)


def modified_since(field: str | None, mtime: float, now: float) -> bool | None:
    """Tell whether the file changed after the date in *field*; None when one of the two is no date."""
    date, modified = None if field is None else parse_http_date(field, now), whole_seconds(mtime)
    return None if date is None or modified is None else modified > date


def requested_ranges(
    method: str, fields: Fields, etag: str, mtime: float, size: int, now: float
) -> list[tuple[int, int]]:
    """Return the ranges to send, none for everything; raise RangeNotSatisfiable as parse_ranges does.

    Only GET has ranges (RFC 9110 section 14.2); HEAD describes the whole file. If If-Range does not match the
    file, the client has a part of an older one: send everything.

    >>> requested_ranges("GET", {"range": "bytes=0-9", "if-range": '"v1"'}, '"v1"', 0, 1000, now=60)
    [(0, 10)]
    """
    if method != "GET" or "range" not in fields:
        return []
    if "if-range" in fields and not is_current(fields["if-range"], etag, mtime, now):
        return []
    return parse_ranges(fields["range"], size)


def is_current(validator: str, etag: str, mtime: float, now: float) -> bool:
    """Tell whether *validator*, the tag or date of an If-Range, is the file's; weak ones never are (section 13.1.5)."""
    if validator == etag:
        return True
    date = parse_http_date(validator, now)
    # Within the same second the file may change again and keep its date (section 8.8.2.2).
    return date is not None and date == whole_seconds(mtime) and now >= date + 1


def parse_ranges(field: str, size: int) -> list[tuple[int, int]]:
    """Return the half-open byte ranges (start, stop) that *field* asks for, merged where they touch or overlap.

    field -- value of a Range field, such as "bytes=0-99, -5" (RFC 9110 section 14.2)
    size  -- length of the representation in bytes, >= 0

    So no byte is sent twice. An empty list means "ignore the field and send everything": unknown unit, bad syntax,
    more than RANGES_LIMIT ranges, or the tail of an empty file, which Content-Range cannot express. Raise
    RangeNotSatisfiable if no range has a byte in the representation; the answer is then 416.

    >>> parse_ranges("bytes=0-99,90-109", 1000)
    [(0, 110)]
    >>> parse_ranges("bytes=-5,0-0", 1000)
    [(995, 1000), (0, 1)]
    """
    unit, _, text = field.partition("=")
    specs = [spec for member in text.split(",") if (spec := member.strip(" \t"))]
    if unit.lower() != "bytes" or not 0 < len(specs) <= RANGES_LIMIT:
        return []
    try:
        ranges = [(start, stop) for start, stop in (parse_range(spec, size) for spec in specs) if start < stop]
    except ValueError:
        return []
    if not ranges:
        raise RangeNotSatisfiable
    return merged(ranges)


def parse_range(spec: str, size: int) -> tuple[int, int]:
    """Return the (start, stop) that "0-99", "900-" or "-5" means; start >= stop if it has no byte of the file.

    Raise ValueError for bad syntax, and for the tail of an empty file.
    """
    wanted = RANGE.fullmatch(spec)
    if not wanted:
        raise ValueError(f"no range: {spec!r}")
    # Twenty digits are past the end of every file, and int() raises ValueError on thousands of them.
    first, last = (int(digits.lstrip("0")[:20] or "0") if digits else None for digits in wanted.groups())
    if first is None:
        if last is None or (last and not size):
            raise ValueError(f"no bytes: {spec!r}")
        return max(size - last, 0), size
    if last is not None and last < first:
        raise ValueError(f"ends before it begins: {spec!r}")
    return first, size if last is None else min(last + 1, size)


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *ranges*, joined where they touch or overlap, in the order asked for (RFC 9110 section 15.3.7.2)."""
    blocks: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if blocks and start <= blocks[-1][1]:
            blocks[-1] = (blocks[-1][0], max(blocks[-1][1], stop))
        else:
            blocks.append((start, stop))
    starts = [start for start, _ in ranges]
    return sorted(blocks, key=lambda block: [block[0] <= start < block[1] for start in starts].index(True))


def content_range(start: int, stop: int, size: int) -> str:
    """Return the Content-Range of a 206 (RFC 9110 section 14.4): content_range(0, 100, 1000) is 'bytes 0-99/1000'."""
    return f"bytes {start}-{stop - 1}/{size}"


def unsatisfied_range(size: int) -> str:
    """Return the Content-Range of a 416, which tells the client the size: 'bytes */1000'."""
    return f"bytes */{size}"


def entity_tag(size: int, mtime_ns: int, coding: str = "") -> str:
    """Return the strong entity tag of a file's bytes (RFC 9110 section 8.8.3).

    It does not contain the inode, so that copies of a site have the same tags. *coding* gives a precompressed
    sibling a tag of its own. Known hole: a file keeps its tag if it is written again with the same length within
    one tick of the file system's clock (some milliseconds on Linux).

    >>> entity_tag(1000, 1700000000123456789)
    '"17979cfe3d85cd15-3e8"'
    """
    return f'"{mtime_ns:x}-{size:x}{coding and "-"}{coding}"'


def last_modified(mtime: float, now: float) -> str | None:
    """Return the value of Last-Modified, not later than Date (RFC 9110 section 8.8.2.1); None: send no such field."""
    return http_date(min(mtime, now))


@functools.lru_cache(maxsize=256)  # the same second is asked for again and again
def http_date(seconds: float) -> str | None:
    """Return *seconds* since 1970 as an IMF-fixdate (RFC 9110 section 5.6.7); None outside the years 1 to 9999.

    >>> http_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    moment = whole_seconds(seconds)
    if moment is None:
        return None
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(moment)
    # Not strftime(), which would name days and months in the language of the locale.
    return f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def whole_seconds(seconds: float) -> int | None:
    """Return *seconds* rounded down; None if there is no such HTTP-date (NaN, or a year beyond 9999)."""
    return math.floor(seconds) if FIRST_SECOND <= seconds < END_OF_TIME else None


def parse_http_date(text: str, now: float) -> int | None:
    """Return the seconds since 1970 of an HTTP-date in any form of RFC 9110 section 5.6.7, or None for anything else.

    A wrong day of the week does not matter. A year of two digits is in the century of *now*, or in the one
    before if that would be more than 50 years ahead.

    >>> parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", now=1700000000)
    784111777
    """
    date = re.fullmatch(IMF_FIXDATE, text) or re.fullmatch(RFC_850_DATE, text) or re.fullmatch(ASCTIME_DATE, text)
    if not date:
        return None
    if len(date["year"]) == 4:
        return seconds_of(date, int(date["year"]))
    this_year = time.gmtime(now).tm_year
    year = this_year - this_year % 100 + int(date["year"])
    seconds = seconds_of(date, year)
    return seconds_of(date, year - 100) if seconds is None or seconds > now + FIFTY_YEARS else seconds


def seconds_of(date: re.Match[str], year: int) -> int | None:
    """Return the seconds since 1970 of a date's match, or None when *year* has no such day."""
    import datetime  # late, since few requests have a date

    month, day, hour, minute = MONTHS.index(date["month"]) + 1, int(date["day"]), int(date["hour"]), int(date["minute"])
    try:
        moment = datetime.datetime(year, month, day, hour, minute, tzinfo=datetime.UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) + int(date["second"])  # which may be 60


def preferred_codings(accept_encoding: str, available: Sequence[str] = ("br", "zstd", "gzip")) -> list[str]:
    """Return the codings to try, best first (RFC 9110 section 12.5.3). If the file has none of them, send it plain.

    accept_encoding -- "" if there is no such field; malformed members are ignored
    available       -- what the server may offer; its order decides between equal weights

    A coding that the client likes less than "identity" is left out.

    >>> preferred_codings("gzip, deflate, br;q=0.5")
    ['gzip', 'br']
    """
    weights = {coding.lower(): float(weight or 1) for coding, weight in CODINGS.findall(accept_encoding)}
    others = weights.get("*", 0.0)
    identity = weights.get("identity", others)
    offers = {coding: weights.get(coding, others) for coding in available}
    wanted = [coding for coding, weight in offers.items() if weight > 0 and weight >= identity]
    return sorted(wanted, key=lambda coding: -offers[coding])  # equals keep the server's order

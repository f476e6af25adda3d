"""conditional.py: tables of values in and decisions out, properties, and hostile text."""

import calendar
import doctest
import email.utils
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from properties import given, st

from asynchttpd import conditional
from asynchttpd.conditional import (
    RangeNotSatisfiable,
    content_range,
    entity_tag,
    evaluate_preconditions,
    http_date,
    last_modified,
    parse_http_date,
    parse_ranges,
    preferred_codings,
    requested_ranges,
    select_parts,
    unsatisfied_range,
)

# The RFC's own moment, in the three forms of RFC 9110 section 5.6.7.
MTIME = 784111777
IMF_FIXDATE = "Sun, 06 Nov 1994 08:49:37 GMT"
RFC_850 = "Sunday, 06-Nov-94 08:49:37 GMT"
ASCTIME = "Sun Nov  6 08:49:37 1994"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
NOW = calendar.timegm((2025, 6, 15, 12, 0, 0))
ETAG = '"xyzzy"'
SIZE = 10000

NO_DATES = [
    "Wed, 99 Jan 99999999999 99:99:99 GMT",
    "garbage",
    "",
    "(" * 5000,
    "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 29 Feb 1900 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 GMT\n",
    " Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 8:49:37 GMT",
    "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 0\xb2 Nov 1994 08:49:37 GMT",
    "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
    "Sun, 06-Nov-94 08:49:37 GMT",
    "Sunday, 06-Nov-1994 08:49:37 GMT",
    "Sunday, 31-Feb-94 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov  0 08:49:37 1994",
    "Sun Nov  6 08:49:37 1994 GMT",
    "784111777",
]


def test_examples_in_the_docstrings():
    results = doctest.testmod(conditional)
    assert results.failed == 0 and results.attempted >= 10


# Dates


@pytest.mark.parametrize("text", [IMF_FIXDATE, RFC_850, ASCTIME])
def test_the_three_forms_of_a_date_are_one_moment(text):
    assert parse_http_date(text, NOW) == MTIME


@pytest.mark.parametrize("text", NO_DATES)
def test_anything_else_is_no_date(text):
    assert parse_http_date(text, NOW) is None


def test_leap_second_and_leap_day_are_dates():
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == calendar.timegm((2017, 1, 1, 0, 0, 0))
    assert parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT", NOW) == calendar.timegm((2024, 2, 29, 0, 0, 0))
    assert parse_http_date("Fri Dec 13 20:45:52 1901", NOW) == -(2**31)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Friday, 14-Jun-75 00:00:00 GMT", (2075, 6, 14)),  # 50 years ahead, less a day
        ("Monday, 17-Jun-75 00:00:00 GMT", (1975, 6, 17)),  # 50 years ahead, and two days
        ("Thursday, 01-Jan-26 00:00:00 GMT", (2026, 1, 1)),
        ("Saturday, 01-Jan-00 00:00:00 GMT", (2000, 1, 1)),
        ("Friday, 31-Dec-99 00:00:00 GMT", (1999, 12, 31)),
    ],
)
def test_two_digit_year_is_at_most_fifty_years_ahead(text, day):
    assert parse_http_date(text, NOW) == calendar.timegm((*day, 0, 0, 0))


def test_fifty_years_ahead_are_not_too_many():
    ahead = calendar.timegm((2076, 1, 1, 0, 0, 0))
    for now, century in ((ahead - conditional.FIFTY_YEARS, 2000), (ahead - conditional.FIFTY_YEARS - 1, 1900)):
        date = parse_http_date("Thursday, 01-Jan-76 00:00:00 GMT", now)
        assert date == calendar.timegm((century + 76, 1, 1, 0, 0, 0))


def test_two_digit_leap_day_of_a_century_that_has_none():
    in_2101 = calendar.timegm((2101, 1, 1, 0, 0, 0))
    assert parse_http_date("Tuesday, 29-Feb-00 00:00:00 GMT", in_2101) == calendar.timegm((2000, 2, 29, 0, 0, 0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (MTIME, IMF_FIXDATE),
        (MTIME + 0.999, IMF_FIXDATE),
        (-0.5, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (-62135596800, "Mon, 01 Jan 0001 00:00:00 GMT"),
        (253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_http_date_is_an_imf_fixdate(seconds, text):
    assert http_date(seconds) == text


@pytest.mark.parametrize(
    "seconds", [253402300800, -62135596801, 2**63, -(2**63), 10**400, float("nan"), float("inf"), float("-inf")]
)
def test_time_that_four_digits_cannot_write_has_no_date(seconds):
    assert http_date(seconds) is None


@given(st.integers(-62135596800, 253402300799))
def test_http_date_and_parse_http_date_are_inverse(seconds):
    assert parse_http_date(http_date(seconds), NOW) == seconds


@given(st.integers(0, 253402300799))
def test_http_date_agrees_with_the_standard_library(seconds):
    assert http_date(seconds) == email.utils.formatdate(seconds, usegmt=True)


@given(st.datetimes())
def test_asctime_agrees_with_the_standard_library(moment):
    assert parse_http_date(moment.ctime(), NOW) == calendar.timegm(moment.timetuple())


@given(st.integers(NOW - 25 * 31556952, NOW + 49 * 31556952))
def test_every_near_moment_survives_a_two_digit_year(seconds):
    day, month, year, clock = http_date(seconds)[5:].split(" ", 4)[:4]
    assert parse_http_date(f"Monday, {day}-{month}-{year[2:]} {clock} GMT", NOW) == seconds


def test_last_modified_is_never_in_the_future():
    assert last_modified(MTIME, NOW) == IMF_FIXDATE
    assert last_modified(NOW + 1000, NOW) == http_date(NOW)
    assert last_modified(2**63, NOW) == http_date(NOW)
    assert last_modified(-(2**63), NOW) is None


# Entity tags


def test_entity_tag_tells_sizes_times_and_codings_apart():
    tags = {entity_tag(1, 256), entity_tag(1, 257), entity_tag(2, 256), entity_tag(16, 25), entity_tag(1, 256, "gzip")}
    assert len(tags) == 5
    assert entity_tag(1, 256) == entity_tag(1, 256)


@given(st.integers(0, 2**63), st.integers(-(2**63), 2**63), st.sampled_from(["", "gzip"]))
def test_entity_tag_is_a_strong_one_that_if_match_reads(size, mtime_ns, coding):
    etag = entity_tag(size, mtime_ns, coding)
    assert etag.startswith('"') and etag.endswith('"')
    assert evaluate_preconditions("GET", {"if-match": f'"other", {etag}'}, etag, MTIME, NOW) == 200
    assert evaluate_preconditions("GET", {"if-none-match": f"{etag} , W/{etag}"}, etag, MTIME, NOW) == 304


# Preconditions

NAMES_IT = [
    ETAG,
    "*",
    f'"r2d2xxxx", {ETAG}, "c3piozzzz"',
    f"{ETAG},",
    f", ,\t{ETAG}\t , ",
    f'"a,b",,\t,{ETAG}',
    f'"",{ETAG}',
]
NAMES_IT_WEAKLY = ["W/" + ETAG, f'"a", W/{ETAG}', f'W/"a",W/{ETAG}, "b"']
NAMES_IT_NOT = [
    '"other"',
    'W/"other"',
    "",
    " ",
    ",",
    '"',
    '"a' * 800,
    '"xyzzy',
    'xyzzy"',
    "xyzzy",
    '"xyzzy""',
    '""xyzzy""',
    f"w/{ETAG}",
    f"W{ETAG}",
    f'"a" {ETAG}',
    f'"a"{ETAG}',
    f"garbage, {ETAG}",
    f"{ETAG}, garbage",
    f'"unclosed, {ETAG}',
    f"*, {ETAG}",
    "**",
    '"*"',
    '"a xyzzy"',
    f'"a\x00",{ETAG}',
    f"{ETAG}\x0b",
    '"a,"xyzzy",b"',
    '"XYZZY"',
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("field", NAMES_IT + NAMES_IT_WEAKLY)
def test_if_none_match_that_names_the_tag_is_304(method, field):
    assert evaluate_preconditions(method, {"if-none-match": field}, ETAG, MTIME, NOW) == 304


@pytest.mark.parametrize("field", NAMES_IT + NAMES_IT_WEAKLY)
def test_if_none_match_on_an_unsafe_method_is_412(field):
    assert evaluate_preconditions("PUT", {"if-none-match": field}, ETAG, MTIME, NOW) == 412


@pytest.mark.parametrize("field", NAMES_IT_NOT)
def test_if_none_match_that_does_not_name_the_tag_is_200(field):
    assert evaluate_preconditions("GET", {"if-none-match": field}, ETAG, MTIME, NOW) == 200


@pytest.mark.parametrize("field", NAMES_IT)
def test_if_match_that_names_the_tag_is_200(field):
    assert evaluate_preconditions("GET", {"if-match": field}, ETAG, MTIME, NOW) == 200


@pytest.mark.parametrize("field", NAMES_IT_NOT + NAMES_IT_WEAKLY)
def test_if_match_compares_strongly_and_else_is_412(field):
    assert evaluate_preconditions("GET", {"if-match": field}, ETAG, MTIME, NOW) == 412


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if-modified-since", EARLIER, 200),
        ("if-modified-since", IMF_FIXDATE, 304),
        ("if-modified-since", RFC_850, 304),
        ("if-modified-since", ASCTIME, 304),
        ("if-modified-since", LATER, 304),
        ("if-unmodified-since", EARLIER, 412),
        ("if-unmodified-since", IMF_FIXDATE, 200),
        ("if-unmodified-since", RFC_850, 200),
        ("if-unmodified-since", ASCTIME, 200),
        ("if-unmodified-since", LATER, 200),
    ],
)
@pytest.mark.parametrize("fraction", [0, 0.999])
def test_dates_compare_in_whole_seconds(name, value, status, fraction):
    assert evaluate_preconditions("GET", {name: value}, ETAG, MTIME + fraction, NOW) == status


@pytest.mark.parametrize("value", NO_DATES)
@pytest.mark.parametrize("name", ["if-modified-since", "if-unmodified-since"])
def test_what_is_no_date_is_ignored(name, value):
    for mtime in (MTIME, -(10**11), 10**12):
        assert evaluate_preconditions("GET", {name: value}, ETAG, mtime, NOW) == 200


@pytest.mark.parametrize("name", ["if-modified-since", "if-unmodified-since"])
@pytest.mark.parametrize("mtime", [253402300800, -62135596801, 2**63, -(2**63), float("nan")])
def test_a_file_without_a_date_ignores_dates(name, mtime):
    assert evaluate_preconditions("GET", {name: IMF_FIXDATE}, ETAG, mtime, NOW) == 200


def test_if_modified_since_is_for_get_and_head_only():
    fields = {"if-modified-since": LATER}
    assert [evaluate_preconditions(m, fields, ETAG, MTIME, NOW) for m in ("GET", "HEAD", "PUT")] == [304, 304, 200]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        # Each true If-Match goes on to the next step; a date beside a field with tags does not count.
        ({"if-match": ETAG, "if-unmodified-since": EARLIER}, 200),
        ({"if-match": '"other"', "if-unmodified-since": LATER}, 412),
        ({"if-match": ETAG, "if-none-match": ETAG}, 304),
        ({"if-match": '"other"', "if-none-match": ETAG}, 412),
        ({"if-unmodified-since": EARLIER, "if-none-match": ETAG}, 412),
        ({"if-unmodified-since": LATER, "if-none-match": ETAG}, 304),
        ({"if-none-match": '"other"', "if-modified-since": LATER}, 200),
        ({"if-none-match": "garbage", "if-modified-since": LATER}, 200),
        ({"if-none-match": ETAG, "if-modified-since": EARLIER}, 304),
        ({"if-match": ETAG, "if-modified-since": LATER}, 304),
        ({"if-unmodified-since": IMF_FIXDATE, "if-modified-since": IMF_FIXDATE}, 304),
        ({"if-unmodified-since": "garbage", "if-modified-since": IMF_FIXDATE}, 304),
    ],
)
def test_order_of_evaluation(fields, status):
    assert evaluate_preconditions("GET", fields, ETAG, MTIME, NOW) == status


# Ranges


@pytest.mark.parametrize(
    ("field", "part"),
    [
        # The examples of RFC 9110 section 14.1.2, on a representation of 10000 bytes.
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=-500", (9500, 10000)),
        ("bytes=9500-", (9500, 10000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10000)),
        ("bytes=9999-9999", (9999, 10000)),
        ("bytes=9000-10000", (9000, 10000)),
        ("bytes=-10001", (0, 10000)),
        ("BYTES=0-9", (0, 10)),
        ("bytes=00000-" + "0" * 5000 + "9", (0, 10)),
        ("bytes=1-" + "9" * 5000, (1, 10000)),
        ("bytes=-" + "9" * 5000, (0, 10000)),
        ("bytes=5-18446744073709551616", (5, 10000)),
    ],
)
def test_single_range(field, part):
    assert parse_ranges(field, SIZE) == [part]


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        # The examples of RFC 9110 section 14.1.2.
        ("bytes=0-0,-1", [(0, 1), (9999, 10000)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 1000), (4500, 5500), (9000, 10000)]),
        ("bytes=500-600,601-999", [(500, 1000)]),
        ("bytes=500-700,601-999", [(500, 1000)]),
        # In the order asked for; a merged one where the first of it was.
        ("bytes=100-109,0-9", [(100, 110), (0, 10)]),
        ("bytes=10-20,50-60,5-9,0-0", [(5, 21), (50, 61), (0, 1)]),
        ("bytes=0-,0-", [(0, 10000)]),
        ("bytes=-1,0-", [(0, 10000)]),
        ("bytes=5-5,0-,7-7", [(0, 10000)]),
        # What lies outside is left out, empty members are passed over.
        ("bytes=0-9,10000-", [(0, 10)]),
        ("bytes=-0,20000-30000,5-", [(5, 10000)]),
        ("bytes=,0-0,\t, 2-2 ,,", [(0, 1), (2, 3)]),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 32, 2)), [(n, n + 1) for n in range(0, 32, 2)]),
    ],
)
def test_several_ranges(field, parts):
    assert parse_ranges(field, SIZE) == parts


@pytest.mark.parametrize(
    "field",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)),
        "bytes=" + "0-0," * 17,
        "bytes=0-0,5-2",
        "bytes=0-0,5",
        "bytes=0-0;5-5",
        "bytes=0-0\xa0,5-5",
        "bytes=,, ,",
        "bytes=0-," + ",".join(f"5-{last}" for last in range(1300)),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)),
        "bytes=5-2",
        "bytes=99999-2",
        "bytes=\xb2-5",
        "bytes=5-\xb2",
        "bytes=\u0663-\u0665",
        "byte\u017f=0-5",
        "bytes=-",
        "bytes=--5",
        "bytes=-5-",
        "bytes=+1-5",
        "bytes=1_0-20",
        "bytes=0x0-5",
        "bytes=0-5\n",
        "bytes=0 - 5",
        "bytes =0-5",
        "bytes:0-5",
        "bytes 0-5",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "0-5",
        "items=0-5",
        "xbytes=0-5",
        "",
    ],
)
def test_any_other_range_field_is_ignored(field):
    assert parse_ranges(field, SIZE) == []


@pytest.mark.parametrize(
    "field",
    [
        "bytes=10000-",
        "bytes=10000-10001",
        "bytes=99999-,99999-",
        "bytes=-0, 10000-",
        "bytes=-0",
        "bytes=-000",
        "bytes=" + "9" * 5000 + "-",
        "bytes=18446744073709551616-",
    ],
)
def test_range_outside_the_file_is_unsatisfiable(field):
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges(field, SIZE)


def test_empty_file_has_no_bytes_to_give():
    for field in ("bytes=0-", "bytes=0-0", "bytes=-0"):
        with pytest.raises(RangeNotSatisfiable):
            parse_ranges(field, 0)
    assert parse_ranges("bytes=-5", 0) == parse_ranges("bytes=-0,-5", 0) == []


range_like = st.builds("bytes={}-{}".format, *[st.one_of(st.just(""), st.integers(0, 60), st.integers(0))] * 2)
latin_1 = st.text(st.characters(max_codepoint=255))


ranges_like = st.lists(range_like.map(lambda text: text.removeprefix("bytes=")), max_size=18).map(",".join)


@given(
    st.one_of(range_like, st.builds("bytes={}".format, latin_1 | ranges_like), latin_1, st.text()), st.integers(0, 50)
)
def test_ranges_are_never_empty_lie_inside_the_file_and_never_touch(field, size):
    try:
        parts = parse_ranges(field, size)
    except RangeNotSatisfiable:
        return
    assert len(parts) <= 16
    assert all(0 <= start < stop <= size for start, stop in parts)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(sorted(parts)))


specs = st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))


@given(st.binary(min_size=1, max_size=50), st.lists(specs, min_size=1, max_size=16))
def test_ranges_pick_the_bytes_that_the_wire_means(body, wanted):
    def pick(first, last):
        if first is None:
            return range(max(len(body) - last, 0), len(body))
        return range(first, min(len(body), len(body) if last is None else last + 1))

    def write(bound):
        return "" if bound is None else str(bound)

    field = "bytes=" + ", ".join(f"{write(first)}-{write(last)}" for first, last in wanted)
    if any(first is last is None or (None not in (first, last) and last < first) for first, last in wanted):
        assert parse_ranges(field, len(body)) == []
        return
    expected = {place for first, last in wanted for place in pick(first, last)}
    if expected:
        assert {place for part in parse_ranges(field, len(body)) for place in range(*part)} == expected
    else:
        with pytest.raises(RangeNotSatisfiable):
            parse_ranges(field, len(body))


def test_range_is_for_get_only():
    fields = {"range": "bytes=0-9"}
    ranges = [requested_ranges(m, fields, ETAG, MTIME, SIZE, NOW) for m in ("GET", "HEAD", "POST", "get")]
    assert ranges == [[(0, 10)], [], [], []]


@pytest.mark.parametrize("if_range", [ETAG, IMF_FIXDATE, RFC_850, ASCTIME])
def test_if_range_that_holds_gives_the_part(if_range):
    fields = {"range": "bytes=0-9", "if-range": if_range}
    assert requested_ranges("GET", fields, ETAG, MTIME + 0.5, SIZE, NOW) == [(0, 10)]


@pytest.mark.parametrize(
    "if_range", [f"W/{ETAG}", '"other"', "*", f'"a", {ETAG}', "", EARLIER, LATER, "xyzzy", *NO_DATES]
)
def test_if_range_that_does_not_hold_gives_the_whole(if_range):
    fields = {"range": "bytes=0-9", "if-range": if_range}
    for mtime in (MTIME, -(2**63), 2**63, float("nan")):
        assert requested_ranges("GET", fields, ETAG, mtime, SIZE, NOW) == []


def test_if_range_that_does_not_hold_hides_an_unsatisfiable_range():
    fields = {"range": "bytes=99999-", "if-range": '"other"'}
    assert requested_ranges("GET", fields, ETAG, MTIME, SIZE, NOW) == []


def test_if_range_date_is_weak_until_its_second_is_over():
    fields = {"range": "bytes=0-9", "if-range": IMF_FIXDATE}
    nows = (MTIME - 1, MTIME, MTIME + 0.9, MTIME + 1)
    assert [requested_ranges("GET", fields, ETAG, MTIME + 0.3, SIZE, now) for now in nows] == [[], [], [], [(0, 10)]]


def test_if_range_without_range_means_nothing():
    assert select_parts("GET", {"if-range": '"other"'}, ETAG, MTIME, SIZE, NOW) == (200, [(0, SIZE)])


def test_content_range_is_inclusive_on_the_wire():
    # RFC 9110 section 14.4
    assert content_range(0, 500, 1234) == "bytes 0-499/1234"
    assert content_range(1234 - 500, 1234, 1234) == "bytes 734-1233/1234"
    assert unsatisfied_range(47022) == "bytes */47022"


# All of it together


@pytest.mark.parametrize(
    ("method", "fields", "answer"),
    [
        ("GET", {}, (200, [(0, SIZE)])),
        ("GET", {"host": "a", "accept": "*/*"}, (200, [(0, SIZE)])),
        ("GET", {"range": "bytes=0-9"}, (206, [(0, 10)])),
        ("GET", {"range": "bytes=0-"}, (206, [(0, SIZE)])),
        ("GET", {"range": "bytes=0-1,3-4"}, (206, [(0, 2), (3, 5)])),
        ("GET", {"range": "bytes=10000-"}, (416, [])),
        ("HEAD", {"range": "bytes=0-9"}, (200, [(0, SIZE)])),
        ("HEAD", {"range": "bytes=10000-"}, (200, [(0, SIZE)])),
        ("GET", {"range": "bytes=0-9", "if-none-match": ETAG}, (304, [])),
        ("GET", {"range": "bytes=10000-", "if-match": '"other"'}, (412, [])),
        ("GET", {"range": "bytes=0-9", "if-match": ETAG, "if-range": ETAG}, (206, [(0, 10)])),
        ("GET", {"range": "bytes=0-9", "if-range": '"other"'}, (200, [(0, SIZE)])),
        ("HEAD", {"if-modified-since": IMF_FIXDATE}, (304, [])),
        ("GET", {"if-unmodified-since": EARLIER}, (412, [])),
        ("GET", {"if-match": '"other"'}, (412, [])),
        ("GET", {"if-none-match": "*"}, (304, [])),
    ],
)
def test_select_parts(method, fields, answer):
    assert select_parts(method, fields, ETAG, MTIME, SIZE, NOW) == answer


NAMES = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"]
values = st.one_of(st.sampled_from([ETAG, "*", IMF_FIXDATE, RFC_850, ASCTIME]), range_like, latin_1, st.text())
mtimes = st.one_of(st.integers(-(2**63), 2**63), st.floats())


@given(st.sampled_from(["GET", "HEAD", "PUT"]), st.dictionaries(st.sampled_from(NAMES), values), mtimes)
def test_no_field_and_no_mtime_can_raise(method, fields, mtime):
    status, parts = select_parts(method, fields, ETAG, mtime, SIZE, NOW)
    assert status in (200, 206, 304, 412, 416)
    assert parts == [(0, SIZE)] if status == 200 else all(0 <= start < stop <= SIZE for start, stop in parts)
    assert bool(parts) == (status < 300)
    assert status != 304 or method in ("GET", "HEAD")
    assert status not in (206, 416) or method == "GET"
    assert last_modified(mtime, NOW) is None or parse_http_date(last_modified(mtime, NOW), NOW) <= NOW


# Content codings


@pytest.mark.parametrize(
    ("accept_encoding", "codings"),
    [
        # The examples of RFC 9110 section 12.5.3.
        ("compress, gzip", ["gzip"]),
        ("", []),
        ("*", ["br", "zstd", "gzip"]),
        ("compress;q=0.5, gzip;q=1.0", ["gzip"]),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", ["gzip"]),
        # What browsers send.
        ("gzip, deflate, br, zstd", ["br", "zstd", "gzip"]),
        ("gzip, deflate", ["gzip"]),
        ("br;q=0.2, gzip;q=0.8, zstd;q=0.8", ["zstd", "gzip", "br"]),
        ("gzip;q=0.001", ["gzip"]),
        ("gzip, br;q=1", ["br", "gzip"]),
        ("GZIP;Q=0.5,\tBr ; q=0.4 ", ["gzip", "br"]),
        ("gzip;q=0", []),
        ("gzip;q=0.000, br", ["br"]),
        ("*, gzip;q=0", ["br", "zstd"]),
        ("gzip;q=0.2, *;q=0.8", ["br", "zstd"]),
        ("*;q=0", []),
        ("*;q=0, br", ["br"]),
        ("identity", []),
        ("identity, gzip;q=0.9", []),
        ("identity;q=0.5, gzip;q=0.4, br;q=0.6", ["br"]),
        ("identity, gzip", ["gzip"]),
        ("identity;q=0", []),
        ("identity;q=0, *", ["br", "zstd", "gzip"]),
        # Members that are malformed, or not ours.
        ("br;q=2, gzip", ["gzip"]),
        ("br;q=1.001, gzip", ["gzip"]),
        ("br;q=0.0001, gzip", ["gzip"]),
        ("br;q=-1, br;q=, br;q, br;q=nan, br;x=1, br q=1, br;q=1;q=1", []),
        ("br;q=\xb2, gzip", ["gzip"]),
        ("x gzip, gzip/, (br), br\x00, \xa0br, gzip\n", []),
        ("gzipped, xbr, zst", []),
        (",,, gzip,,", ["gzip"]),
        (";q=1, gzip", ["gzip"]),
    ],
)
def test_preferred_codings(accept_encoding, codings):
    assert preferred_codings(accept_encoding) == codings


def test_available_codings_come_in_the_servers_order():
    assert preferred_codings("br, gzip, zstd", ("gzip", "br")) == ["gzip", "br"]
    assert preferred_codings("*", ()) == []


@given(st.one_of(latin_1, st.text("gzipbr*;q=01.,\t "), st.text()))
def test_preferred_codings_are_available_ones(accept_encoding):
    codings = preferred_codings(accept_encoding)
    assert set(codings) <= {"br", "zstd", "gzip"} and len(set(codings)) == len(codings)


# Hostile sizes

HOSTILE = """
import itertools
from asynchttpd.conditional import evaluate_preconditions, parse_ranges, preferred_codings, requested_ranges
from asynchttpd.conditional import RangeNotSatisfiable

def values(n):
    starts = "", "bytes=", "Sun, ", '"a'
    pieces = '"', '"a', '"a",', '"a" ', 'W/"a",', ",", " ", " ,", "W/", "gzip", "gzip;q=0.5,", ";", "9", "0", "0-0,"
    for start, piece, end in itertools.product(starts, pieces, ("", "x", '"')):
        yield start + piece * n + end

def answer(value):
    for name in ("if-match", "if-none-match", "if-modified-since"):
        evaluate_preconditions("GET", {name: value}, '"v1"', 0, 60)
    requested_ranges("GET", {"range": "bytes=0-", "if-range": value}, '"v1"', 0, 1000, 60)
    preferred_codings(value)
    try:
        parse_ranges(value, 1000)
    except RangeNotSatisfiable:
        pass

for value in values(100_000):
    answer(value)
"""


@pytest.mark.slow
def test_work_grows_no_faster_than_the_field():
    # No stopwatch: at this size linear work ends in some seconds, quadratic work not in hours.
    folder = Path(conditional.__file__).parent
    subprocess.run([sys.executable, "-c", HOSTILE], cwd=folder, timeout=60, check=True)

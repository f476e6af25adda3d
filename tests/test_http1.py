"""Message syntax and framing (http1.py): bytes in, values out. tests/requests has the same over sockets."""

import doctest
import signal
from contextlib import contextmanager

import pytest
from properties import given, st

from asynchttpd import http1
from asynchttpd.chunked import ChunkedDecoder
from asynchttpd.http1 import HTTPError

TOKEN_LETTERS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LATIN = "".join(map(chr, [9, *range(32, 127), *range(128, 256)]))  # what a field value may hold (RFC 9110 §5.5)
OTHER_SEPARATORS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\xa0"]  # to str.strip or str.splitlines blank

tokens = st.text(TOKEN_LETTERS, min_size=1, max_size=20)
values = st.text(LATIN, max_size=60).map(lambda text: text.strip(" \t"))
segments = st.text("abcXYZ019-._~!$&'()*+,;=:@", max_size=8) | st.sampled_from(["%20", "%2F", "%c3%a9", "[", "{|}"])
targets = st.lists(segments, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))
messages = st.text("GETPOS /HTP1.0:\r\n\t abc%?#\x00\x80\xff,;=-5", max_size=200).map(
    lambda text: text.encode("latin-1")
)


def head(*lines, request_line="GET / HTTP/1.1", host="Host: a"):
    """Return a head of the *lines* given, as bytes."""
    return "\r\n".join([request_line, *([host] if host else []), *lines]).encode("latin-1")


def status_of(function, *args):
    """Return the status of the HTTPError that *function* raises, 0 if it raises none."""
    try:
        function(*args)
    except HTTPError as error:
        return error.status
    return 0


def framing(*lines, version="1.1"):
    _, _, version, fields = http1.parse_head(head(*lines, request_line=f"POST / HTTP/{version}"))
    return http1.body_framing(version, fields)


@contextmanager
def cpu_limit(seconds):
    """Raise TimeoutError when the block has used more processor time than *seconds*."""

    def too_slow(number, frame):
        raise TimeoutError(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_docstring_examples():
    assert doctest.testmod(http1).failed == 0


# The request line.


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("GET / HTTP/1.1", "/"),
        ("GET /a%20b?c=%zz&d HTTP/1.0", "/a%20b?c=%zz&d"),
        ("GET //a//b HTTP/1.1", "//a//b"),
        ("BREW /pot HTTP/1.1", "/pot"),
        ("get / HTTP/1.9", "/"),
        ("OPTIONS * HTTP/1.1", "*"),
        ("OPTIONS http://h HTTP/1.1", "/"),
        ("GET http://h/x?y HTTP/1.1", "/x?y"),
        ("GET HTTPS://h:80?y HTTP/1.1", "/?y"),
        ("GET http://[::1]:80/x HTTP/1.1", "/x"),
        ("CONNECT h:443 HTTP/1.1", "h:443"),
        ("GET /[]^`{|} HTTP/1.1", "/[]^`{|}"),
        ('GET /"<a> HTTP/1.1', '/"<a>'),
        ('GET /?C:\\"<a> HTTP/1.1', '/?C:\\"<a>'),
        ("GET http://[v1.a:b]/ HTTP/1.1", "/"),
    ],
)
def test_request_line_is_accepted(line, target):
    assert http1.parse_head(head(request_line=line))[1] == target


@pytest.mark.parametrize(
    "line",
    [
        "", " ", "GET", "GET /", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1", "GET / HTTP/1", "GET / HTTP/1.", "GET / HTTP/1.32", "GET / HTTP/01.1", "GET / http/1.1",
        "GET / HTTP/4294967295.255", "GET / HTTP/\xb2.1", "GET / HTTP/1.1\n", "GET /\n HTTP/1.1",
        'G="x" / HTTP/1.1', "\x00 / HTTP/1.1", "G\xc9T / HTTP/1.1", "(GET) / HTTP/1.1",
        "GET /a#b HTTP/1.1", "GET /\x80\xff HTTP/1.1", "GET /\\a HTTP/1.1", "GET /\\?a HTTP/1.1",
        "GET /% HTTP/1.1", "GET /%4 HTTP/1.1", "GET /%zz HTTP/1.1", "GET /%u002e HTTP/1.1",
        "GET index.html HTTP/1.1", "GET ! HTTP/1.1", "GET * HTTP/1.1", "GET example.com:80 HTTP/1.1",
        "OPTIONS ** HTTP/1.1", "CONNECT / HTTP/1.1", "CONNECT h HTTP/1.1", "GET ftp://h/ HTTP/1.1",
        "GET http:///x HTTP/1.1", "GET http://u@h/x HTTP/1.1", "GET http://[::1/ HTTP/1.1", "GET http://h:x/ HTTP/1.1",
        "GET http://:80/ HTTP/1.1", "GET http://h\\a/ HTTP/1.1", "GET http://[1.2.3.4]/ HTTP/1.1",
        "CONNECT [::1 HTTP/1.1", "CONNECT :443 HTTP/1.1", "CONNECT [ab..cd::1]:443 HTTP/1.1",
    ],
)  # fmt: skip
def test_request_line_is_refused(line):
    assert status_of(http1.parse_head, head(request_line=line)) == 400


@pytest.mark.parametrize("line", ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0", "GET / HTTP/9.9"])
def test_another_major_version_is_505(line):
    assert status_of(http1.parse_head, head(request_line=line)) == 505


def test_request_line_limit_is_8190_bytes():
    longest = "GET /" + "a" * (8190 - len("GET / HTTP/1.1")) + " HTTP/1.1"
    assert status_of(http1.parse_head, head(request_line=longest)) == 0
    assert status_of(http1.parse_head, head(request_line=longest.replace("/a", "/aa"))) == 414


# Fields and Host.


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("X:", "X", ""),
        ("X: \t a b \t", "X", "a b"),
        ("x-y!#$%&'*+.^_`|~9: z", "X-Y!#$%&'*+.^_`|~9", "z"),
        ("User: \x85admin\xa0", "user", "\x85admin\xa0"),
        ("X: a:b", "x", "a:b"),
    ],
)
def test_field_is_accepted(line, name, value):
    assert http1.parse_head(head(line))[3][name] == value


@pytest.mark.parametrize(
    "line",
    ["X", "X : a", "X\t: a", " X: a", "\tX: a", ": a", "X\xef: a", "a b: c", "a(b): c", '"x": y', "X\x00: a",
     "X: a\x00", "X: \x7f", "X: a\rb", "X: a\nb", "X: a\x0bb", "X: a\x1cb", "X: a\x1f"],
)  # fmt: skip
def test_field_is_refused(line):
    assert status_of(http1.parse_head, head(line)) == 400


def test_folded_field_is_refused():
    assert status_of(http1.parse_head, head("A: b", " c: d")) == 400


def test_repeated_field_is_one_list():
    fields = http1.parse_head(head("Accept: a", "ACCEPT: b", "Cookie: c=1", "Cookie: d=2"))[3]
    assert (fields["accept"], fields["Cookie"]) == ("a, b", "c=1; d=2")


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Content-Type"])
def test_second_field_that_frames_or_addresses_is_refused(name):
    assert (
        status_of(http1.parse_head, head(f"{name}: 5", f"{name.lower()}: 5", host="" if name == "Host" else "Host: a"))
        == 400
    )


@pytest.mark.parametrize("name", ["hOST", "host", "HOST"])
def test_fields_are_found_in_any_case(name):
    fields = http1.parse_head(head())[3]
    assert fields[name] == fields.get(name) == "a"
    assert name in fields
    assert fields["missing"] is None
    assert fields.get("missing", "x") == "x"
    assert "missing" not in fields


def test_field_limits():
    assert status_of(http1.parse_head, head("X:" + "a" * 8188)) == 0
    assert status_of(http1.parse_head, head("X:" + "a" * 8189)) == 431
    assert status_of(http1.parse_head, head(*["X: a"] * 99)) == 0
    assert status_of(http1.parse_head, head(*["X: a"] * 100)) == 431


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "a:80",
        "a:",
        "127.0.0.1:9000",
        "[::1]:80",
        "[2001:DB8::192.0.2.1]",
        "[v1F.a:b]:80",
        "",
        "a%20b",
        "xn--bcher-kva.example",
    ],
)
def test_host_is_accepted(host):
    assert http1.parse_head(head(host=f"Host: {host}"))[3]["host"] == host


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a/b",
        "a<script>",
        "u@a",
        "a/b?c#d@e",
        "[::1",
        "a:b",
        "a,b:1:2",
        "\xe9",
        "a\x85",
        ":80",
        ":",
        "[]",
        "[::1]a",
        "[4712::abcd::]",
        "[ab..cd::1]",
        "[1.2.3.4]",
        "[::ffff:999.1.1.1]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.]",
        "[v.a]",
        "[v1.a",
        "[v1]",
    ],
)
def test_host_is_refused(host):
    assert status_of(http1.parse_head, head(host=f"Host: {host}")) == 400


def test_host_is_needed_in_1_1_only():
    assert status_of(http1.parse_head, head(host="")) == 400
    assert status_of(http1.parse_head, head(host="", request_line="GET / HTTP/1.0")) == 0


def test_host_of_the_target_wins():
    assert http1.parse_head(head(request_line="GET http://b:8/ HTTP/1.1"))[3]["host"] == "b:8"


# Where a request ends.


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], 0),
        (["Content-Length: 0"], 0),
        (["Content-Length: 010"], 10),
        (["Content-Length: 9999999999999999999"], 9999999999999999999),
        (["Transfer-Encoding: chunked"], None),
        (["Transfer-Encoding: CHUNKED"], None),
    ],
)
def test_body_framing(lines, length):
    assert framing(*lines) == length


@pytest.mark.parametrize(
    "line",
    [
        "Content-Length: ", "Content-Length: +5", "Content-Length: -1", "Content-Length: 1_0", "Content-Length: 5 5",
        "Content-Length: 5, 5", "Content-Length: 0x10", "Content-Length: 1Z", "Content-Length: 5;",
        "Content-Length: \xb2", "Content-Length: 5.0",
        "Transfer-Encoding: ", "Transfer-Encoding: xchunked", 'Transfer-Encoding: "chunked"',
        "Transfer-Encoding: chunked;x=1", "Transfer-Encoding: chunked123", "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        *(f"Transfer-Encoding: {mark}chunked" for mark in OTHER_SEPARATORS),
        *(f"Transfer-Encoding: chunked{mark}" for mark in OTHER_SEPARATORS),
        *(f"Content-Length: 5{mark}" for mark in OTHER_SEPARATORS),
    ],
)  # fmt: skip
def test_doubtful_framing_is_refused(line):
    assert status_of(framing, line) == 400


@pytest.mark.parametrize("coding", ["gzip, chunked", "x-gzip,chunked", "deflate, compress, chunked"])
def test_foreign_transfer_coding_is_501(coding):
    assert status_of(framing, f"Transfer-Encoding: {coding}") == 501


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked"])
def test_both_lengths_are_refused(coding):
    assert status_of(framing, f"Transfer-Encoding: {coding}", "Content-Length: 5") == 400


def test_transfer_encoding_in_1_0_is_refused():
    with pytest.raises(HTTPError) as caught:
        framing("Transfer-Encoding: chunked", version="1.0")
    assert caught.value.status == 400


@pytest.mark.parametrize("digits", ["99999999999999999999", "9" * 5000, "0" * 20])
def test_length_of_too_many_digits_is_413(digits):
    assert status_of(framing, f"Content-Length: {digits}") == 413


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True), ("1.1", "close", False), ("1.1", "Close", False), ("1.1", "keep-alive, close", False),
        ("1.1", "TE,,Keep-Alive", True), ("1.1", "closed", True), ("1.1", "\x85close", True), ("1.9", "x", True),
        ("1.0", None, False), ("1.0", "Keep-Alive", True), ("1.0", "x, KEEP-ALIVE ,y", True),
        ("1.0", "keep-alive, close", False),
    ],
)  # fmt: skip
def test_keep_alive(version, connection, kept):
    lines = [] if connection is None else [f"Connection: {connection}"]
    _, _, version, fields = http1.parse_head(head(*lines, request_line=f"GET / HTTP/{version}"))
    assert http1.keep_alive(version, fields) is kept


def test_connection_on_several_lines_is_one_list():
    _, _, version, fields = http1.parse_head(head("Connection: TE", "connection: close"))
    assert not http1.keep_alive(version, fields)


@pytest.mark.parametrize(
    ("version", "expect", "outcome"),
    [("1.1", "100-continue", True), ("1.1", "100-Continue", True), ("1.0", "100-continue", False), ("1.0", "x", False)],
)
def test_expects_continue(version, expect, outcome):
    _, _, version, fields = http1.parse_head(head(f"Expect: {expect}", request_line=f"POST / HTTP/{version}"))
    assert http1.expects_continue(version, fields) is outcome


@pytest.mark.parametrize("expect", ["200-ok", "y 100-continue", "100-continue, x", "", "100"])
def test_other_expectation_is_417(expect):
    _, _, version, fields = http1.parse_head(head(f"Expect: {expect}"))
    assert status_of(http1.expects_continue, version, fields) == 417


# A head that is not complete yet.


@pytest.mark.parametrize(
    ("data", "rest"),
    [(b"\r\nG", b"G"), (b"\nG", b"G"), (b"\n\r\n\n\r\n", b""), (b"G\r\n", b"G\r\n"), (b"", b"")],
)
def test_empty_lines_before_a_request_are_skipped(data, rest):
    assert http1.skip_empty_lines(data) == rest


@pytest.mark.parametrize("data", [b"\rG", b"\r", b"\r\n\rG", b"\n\rG", b"\r\r\nG", b"\r\n\r\r\n"])
def test_a_bare_cr_is_no_empty_line(data):
    assert status_of(http1.skip_empty_lines, data) == 400


@pytest.mark.parametrize("piece", [b"A: b\nC", b"A: b\rC", b"\x00", b"\x16\x03\x01", b"A: \x7f", b"\nA", b"\x0b"])
def test_impossible_piece_of_a_head_is_refused_at_once(piece):
    assert status_of(http1.check_partial_head, piece) == 400


@pytest.mark.parametrize("piece", [b"GET / HTTP/1.1\r\nA: b", b"A:\t\x80\xff", b"", b"a\r\nb\r\nc"])
def test_possible_piece_of_a_head_is_waited_for(piece):
    assert status_of(http1.check_partial_head, piece) == 0


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000, 431),
        (b"GET /" + b"a" * 70000, 414),
        (b"A: b\r\n" * 20000, 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n" + b" c\r\n" * 30000, 400),
        (b"GET / HTTP/3.0\r\n" + b"A: b\r\n" * 20000, 505),
    ],
)
def test_oversized_head(start, status):
    assert http1.oversized_head(start).status == status


# Chunked bodies.


def decode(data, limit=100000):
    """Return (body, rest) of the chunked *data*; rest is None if it is not complete."""
    decoder = ChunkedDecoder(limit)
    body = decoder.decode(data)
    return body, decoder.rest if decoder.done else None


def decode_in_pieces(size, data, limit=100000):
    decoder = ChunkedDecoder(limit)
    for start in range(0, len(data), size):
        decoder.decode(data[start : start + size])


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET"),
        (b"000A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b'1;a;b=c;d="e;\\" f"\r\nZ\r\n0 ; last \t= x\r\n\r\n', b"Z", b""),
        (b"1\r\nZ\r\n0\r\nContent-Length: 50\r\nHost: evil\r\n\r\n", b"Z", b""),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        (b"5\r\nhello\r\n0\r\n", b"hello", None),
        (b"5\r\nhel", b"hel", None),
    ],
)
def test_chunked_body(data, body, rest):
    assert decode(data) == (body, rest)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n", b"0_2e\r\n", b"+5\r\n", b"-0x0\r\n", b"0x5\r\n", b" 5\r\n", b"5 \r\n", b"5\n", b"g\r\n",
        b"\xb2\r\n",
        b"1these\r\nZ\r\n0\r\n\r\n", b"5\r\r;ABCD\r\n", b"5;a=\nb\r\nhello\r\n", b"5;a\rb\r\n", b"5;\r\nhello\r\n",
        b'5;a="b\r\nhello\r\n', b"5;a=\r\nhello\r\n", b"5;a\x00\r\n", b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhelloXX\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
        b"0\r\nX:POST / HTTP/1.1\n\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nXy\r\n\r\n",
        b"0" * 5000 + b"5\r\nhello", b"0" * 17 + b"\r\n\r\n", b"f" * 400 + b"\r\n", b"5;" + b"a" * 5000, b"0\r\n\n",
    ],
)  # fmt: skip
def test_malformed_chunked_body_is_refused(data):
    assert status_of(decode, data) == 400


def test_chunked_body_is_limited_on_the_wire():
    assert status_of(decode, b"FFFFFFFFFFFFFFFF\r\n") == 413
    assert status_of(decode, b"1\r\nZ\r\n" * 100, 599) == 413  # 100 bytes of body, 600 on the wire
    assert status_of(decode, b"1\r\nZ\r\n" * 100, 600) == 0
    for size in (1, 7):
        assert status_of(decode_in_pieces, size, b"1\r\nZ\r\n" * 100, 599) == 413
        assert status_of(decode_in_pieces, size, b"1\r\nZ\r\n" * 100, 600) == 0


@pytest.mark.parametrize(
    ("before", "line", "after", "status"),
    [
        (b"", b"5;" + b"a" * 4094, b"\r\nhello\r\n0\r\n\r\n", 400),
        (b"0\r\n", b"X:" + b"y" * 8188, b"\r\n\r\n", 431),
    ],
    ids=["size", "trailer"],
)
def test_longest_line_of_a_chunked_body(before, line, after, status):
    assert status_of(decode_in_pieces, 1, before + line + after) == 0
    assert status_of(decode, before + line + b"a" + after) == status
    assert status_of(decode, before + line + b"aa") == status  # whose end is not waited for


@pytest.mark.parametrize(
    "trailers", [b"X: y\r\n" * 101, b"X: " + b"y" * 9000 + b"\r\n", (b"X: " + b"y" * 8000 + b"\r\n") * 10]
)
def test_trailers_are_limited(trailers):
    assert status_of(decode, b"0\r\n" + trailers + b"\r\n") == 431


def test_most_trailers():
    full = (b"X:" + b"y" * 8188 + b"\r\n") * 8 + b"X:" + b"y" * 14 + b"\r\n"  # 65536 bytes without the ends of lines
    assert status_of(decode, b"0\r\n" + full + b"Y:\r\n\r\n") == 0
    assert status_of(decode, b"0\r\n" + full + b"Y:\r\nZ:\r\n\r\n") == 431
    assert status_of(decode, b"0\r\n" + b"X:\r\n" * 100 + b"\r\n") == 0


# What we write.


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0", "\u010a", "\x7f", "a\x0b"])
def test_field_that_would_break_the_head_apart_is_refused(value):
    with pytest.raises(ValueError, match="not a header field"):
        http1.field_line("X", value)
    with pytest.raises(ValueError, match="not a header field"):
        http1.field_line(value, "x")


# Whatever arrives.


@given(tokens, targets, st.lists(st.tuples(tokens, values), max_size=10))
def test_head_round_trip(method, target, fields):
    fields = [(f"x-{name}", value) for name, value in fields]
    lines = [http1.field_line(name, value) for name, value in fields]
    if method == "CONNECT":
        method = "GET"
    *words, parsed = http1.parse_head(head(*lines, request_line=f"{method} {target} HTTP/1.1"))
    assert words == [method, target, "HTTP/1.1"]
    for name in {name.lower() for name, _ in fields}:
        assert parsed[name] == ", ".join(value for other, value in fields if other.lower() == name)


@given(st.binary(max_size=300) | messages | messages.map(lambda rest: b"GET / HTTP/1.1\r\nHost: a\r\n" + rest))
def test_any_bytes_are_a_request_or_an_http_error(data):
    status_of(http1.check_partial_head, data)
    assert 400 <= http1.oversized_head(data).status <= 505
    try:
        _, _, version, fields = http1.parse_head(data)
        length = http1.body_framing(version, fields)
        assert length is None or length >= 0
        http1.expects_continue(version, fields)
    except HTTPError as error:
        assert 400 <= error.status <= 505


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=10),
    st.lists(st.integers(0, 600), max_size=8),
    st.binary(max_size=20),
)
def test_chunked_round_trip_in_any_pieces(chunks, cuts, rest):
    data = b"".join(b"%X;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: v\r\n\r\n"
    decoder, body = ChunkedDecoder(10000), b""
    cuts = sorted(cut for cut in cuts if cut < len(data))
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        assert not decoder.done
        body += decoder.decode(data[start:stop] + (rest if stop == len(data) else b""))
    assert (body, decoder.done, decoder.rest) == (b"".join(chunks), True, rest)


@given(
    st.text('0123456789aAfF;="\\ \t\r\nxX:\x00\x80', max_size=100).map(lambda text: text.encode("latin-1")),
    st.integers(0, 100),
)
def test_any_chunked_bytes_give_the_same_whole_or_in_two(data, cut):
    def outcome(*pieces):
        decoder, body = ChunkedDecoder(10000), b""
        try:
            for piece in pieces:
                if decoder.done:
                    decoder.rest += piece
                else:
                    body += decoder.decode(piece)
        except HTTPError as error:
            return error.status
        return body, decoder.done, decoder.rest

    assert outcome(data) == outcome(data[:cut], data[cut:])


# No input is slower than linear. Below, a second is some hundred times what linear work needs; quadratic
# work needs many seconds, and a pattern that backtracks in earnest, years.

HOSTILE_HEADS = [
    head(request_line="GET /" + "a" * 8000 + "\\ HTTP/1.1"),
    head(request_line="GET /" + "%41" * 2600 + "\\ HTTP/1.1"),
    head(request_line="GET /" + "a%41" * 2000 + "\\ HTTP/1.1"),
    head(request_line="GET /?" + "a" * 8000 + "# HTTP/1.1"),
    head(request_line="GET http://" + "a" * 8000 + "\\ HTTP/1.1"),
    head(request_line="GET http://" + "a%41" * 2000 + "/" + "\\ HTTP/1.1"),
    head(request_line="CONNECT " + "a" * 8000 + " HTTP/1.1"),
    head(request_line="A" * 8000),
    head(request_line="GET " + "HTTP/1.1" * 1000),
    head(host="Host: " + "a" * 8000 + '"'),
    head(host="Host: " + "a%41" * 2000 + "%"),
    head(host="Host: [" + ":" * 8000),
    head("X:" + " " * 8000 + "\x00"),
    head("X: " + "a " * 4000 + "\x00"),
    head("X" * 8000),
    head("Transfer-Encoding: " + "gzip," * 1600),
    head("Connection: " + "," * 8000),
    head("Connection: " + "a ," * 2600),
    head("Expect: " + " 100-continue" * 600),
    head("Content-Length: " + "9" * 8000),
    head(*["X: a"] * 99),
]


@pytest.mark.parametrize("data", HOSTILE_HEADS, ids=lambda data: repr(data[:30]))
def test_hostile_head_costs_linear_time(data):
    with cpu_limit(1):
        for _ in range(50):
            try:
                _, _, version, fields = http1.parse_head(data)
                http1.keep_alive(version, fields)
                http1.body_framing(version, fields)
            except HTTPError:
                pass  # refused, and quickly: that is the claim


HOSTILE_CHUNK_LINES = [
    b"1" + b" " * 4000,
    b"1" + b" ;a" * 1300 + b"\x00",
    b"1" + b";a=b" * 1000 + b";",
    b"1;a=" + b"a" * 4000 + b"\x00",
    b'1;a="' + b"\\" * 4000,
    b'1;a="' + b'\\"' * 2000,
    b"1;" + b"a \t= " * 800,
]


@pytest.mark.parametrize("line", HOSTILE_CHUNK_LINES, ids=lambda line: repr(line[:12]))
def test_hostile_chunk_line_costs_linear_time(line):
    with cpu_limit(1):
        for _ in range(50):
            assert status_of(decode, line + b"\r\n") == 400


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_tiny_chunks_cost_linear_time(size):
    data = b"1\r\nZ\r\n" * 20000
    with cpu_limit(3):  # quadratic work copies 120 kB for each piece: minutes
        decoder = ChunkedDecoder(1000000)
        body = b"".join(decode_all(decoder, data[start : start + size]) for start in range(0, len(data), size))
    assert body == b"Z" * 20000


def decode_all(decoder, data):
    """Decode *data* and, in further goes, what the decoder leaves of many small chunks."""
    body = decoder.decode(data)
    while decoder.rest and not decoder.done:
        body += decoder.decode(decoder.rest)
    return body


def test_many_small_chunks_are_left_for_another_turn():
    decoder = ChunkedDecoder(1000000)
    first = decoder.decode(b"1\r\nZ\r\n" * 20000)
    assert 0 < len(first) < 1000
    assert len(first) * 6 + len(decoder.rest) == 120000


def test_endless_data_in_one_byte_pieces_costs_linear_time():
    with cpu_limit(3):
        decoder = ChunkedDecoder(1000000)
        decoder.decode(b"40000\r\n")
        body = b"".join(decoder.decode(b"x") for _ in range(0x40000))
    assert len(body) == 0x40000


# What is remembered.

BLOCK = b"Host: a\r\nCookie: session=%b\r\nConnection: keep-alive"


def test_requests_with_the_same_lines_share_their_fields():
    heads = [http1.parse_head(b"GET /%d HTTP/1.1\r\n" % number + BLOCK % b"1") for number in range(2)]
    assert [target for _, target, _, _ in heads] == ["/0", "/1"]
    assert heads[0][3] is heads[1][3]


def test_another_cookie_is_another_block():
    cookies = [http1.parse_head(b"GET / HTTP/1.1\r\n" + BLOCK % value)[3]["Cookie"] for value in (b"1", b"2", b"1")]
    assert cookies == ["session=1", "session=2", "session=1"]


def test_host_of_a_target_is_not_remembered_for_others():
    plain, absolute = b"GET / HTTP/1.1\r\nHost: a", b"GET http://b/ HTTP/1.1\r\nHost: a"
    assert [http1.parse_head(head)[3]["Host"] for head in (plain, absolute, plain)] == ["a", "b", "a"]


def test_what_is_decided_depends_on_the_version_too():
    fields = [http1.parse_head(b"GET / HTTP/1.%d\r\nHost: a\r\nExpect: 100-continue" % minor)[3] for minor in (0, 1, 0)]
    assert [http1.decide(f"HTTP/1.{minor}", fields[0]) for minor in (0, 1, 0)] == [
        (0, False, False),
        (0, True, True),
        (0, False, False),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.__setitem__("host", "b"),
        lambda fields: fields.__delitem__("host"),
        lambda fields: fields.update(host="b"),
        lambda fields: fields.setdefault("x", "y"),
        lambda fields: fields.pop("host"),
        lambda fields: fields.popitem(),
        lambda fields: fields.clear(),
        lambda fields: fields.__ior__({"host": "b"}),
    ],
)
def test_shared_fields_cannot_be_changed(change):
    fields = http1.parse_head(b"GET / HTTP/1.1\r\nHost: a")[3]
    with pytest.raises(TypeError):
        change(fields)
    assert dict(fields) == {"host": "a"}


@pytest.mark.parametrize("block", [b"Host: a\r\nContent-Length: x", b"Host: a\r\nX : y", b"Host: a\r\nX: \0"])
def test_block_that_is_refused_is_refused_each_time(block):
    for _ in range(2):
        with pytest.raises(HTTPError):
            http1.decide("HTTP/1.1", http1.parse_head(b"GET / HTTP/1.1\r\n" + block)[3])

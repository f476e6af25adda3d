"""Files over real connections: validators, ranges, codings, types, folders, and what must never be served.

Rows of known attacks on other servers are named by their id (CVE and the like) where there is one.
"""

import ctypes
import email
import gzip
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import time

import httplint
import pytest
from conftest import ROOT, python_command, running_servers, wait_until
from httplint.note import levels

import httpd

TEXT = b"0123456789" * 100
LARGE = bytes(range(251)) * 13000  # above 3 MB: several pieces, several turns of the loop, and no page repeats
SECRET = b"root:x:0:0:do not show this\n"
MTIME = 784111777  # seconds; Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def make(path, content=b"", mtime=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def make_site(www):
    """Fill the folder *www* with honest files and traps; put secrets beside it."""
    secret = make(www.parent / "outside" / "secret.txt", SECRET)
    make(www.parent / (www.name + "-secret") / "f", SECRET)
    make(www / "index.html", b"<!DOCTYPE html><title>front</title>")
    make(www / "digits.txt", TEXT, MTIME)
    make(www / "large.bin", LARGE)
    make(www / "empty.txt")
    make(www / "page.html", b"<p>page")
    make(www / "dir2" / "index.html", b"<p>index of dir2")
    make(www / "dir2" / "page.html", b"<p>page in dir2")
    make(www / "bare" / "file.txt", b"in a folder without index")
    make(www / "evil.example" / "dir2" / "index.html", b"<p>a folder named like a host")
    make(www / "folder-index" / "index.html" / "file")
    (www / "folder.html").mkdir()
    make(www / ".env", SECRET)
    make(www / ".git" / "config", SECRET)
    make(www / "dir2" / ".htaccess", SECRET)
    make(www / ".well-known" / "security.txt", b"Contact: mailto:a@example.org")
    make(www / ".well-known" / ".git" / "config", SECRET)
    make(www / ".well-known.old", SECRET)
    for suffix, content in (("", b"plain"), (".br", b"as br"), (".zst", b"as zstd"), (".gz", b"as gzip")):
        make(www / f"app.js{suffix}", content)
    make(www / "trap.js", b"plain")
    (www / "trap.js.gz").symlink_to(secret)
    os.mkfifo(www / "trap.js.br")
    (www / "trap.js.zst").mkdir()
    (www / "out").symlink_to(secret)
    (www / "outdir").symlink_to(secret.parent)
    (www / "beside").symlink_to(www.parent / (www.name + "-secret"))
    (www / "indexed").mkdir()
    (www / "indexed" / "index.html").symlink_to(secret)
    (www / "dangling").symlink_to("nowhere")
    (www / "loop").symlink_to("loop")
    (www / "inside").symlink_to("dir2/page.html")
    (www / "zero").symlink_to("/dev/zero")
    os.mkfifo(www / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(www / "socket"))  # the kernel takes 107 bytes of a name
    make(www / os.fsdecode(b"\xff"), b"no UTF-8")
    make(www / "Grüße an Zoë.html", b"<p>umlauts")
    make(www / 'a"b<c>.txt', b"quoted")


@pytest.fixture(scope="module")
def www(tmp_path_factory):
    www = tmp_path_factory.mktemp("site") / "www"
    make_site(www)
    return www


@pytest.fixture(scope="module")
def server(www, tmp_path_factory):
    """The file server with its defaults, shared by all tests of this module that need no other."""
    with running_servers(tmp_path_factory.mktemp("log")) as run:
        yield run(python_command("httpd.py", "--port", 0, "-r", www)).wait_started()


@pytest.fixture
def client(server, connect):
    return connect(server)


def comparable(answer):
    """Return everything of *answer*, in its order, but the time of day."""
    return answer.status, [item for item in answer.fields.items() if item[0] != "date"], answer.body


def assert_looks_missing(client, target, *lines):
    missing = client.get("/no-such-file", *lines)
    assert missing.status == 404
    assert comparable(client.get(target, *lines)) == comparable(missing)


# Validators and preconditions (RFC 9110 §8.8, §13).


def tag_of(client, target, *lines):
    return client.get(target, *lines, method="HEAD").fields["etag"]


def test_a_file_comes_with_a_strong_tag_its_date_and_how_to_keep_it(client):
    fields = client.get("/digits.txt").fields
    assert re.fullmatch('"[!#-~]+"', fields["etag"])
    assert fields["last-modified"] == DATE
    assert fields["cache-control"] == "no-cache"
    assert fields["content-length"] == str(len(TEXT))
    assert fields["accept-ranges"] == "bytes"


def test_the_tag_changes_with_each_nanosecond_and_with_the_size_but_not_with_a_copy(www, client):
    file, copy = make(www / "tagged.txt", b"one"), www / "copy.txt"
    before = tag_of(client, "/tagged.txt")
    shutil.copy2(file, copy)
    assert tag_of(client, "/copy.txt") == before
    moment = file.stat().st_mtime_ns
    os.utime(file, ns=(moment, moment + 1))
    one_later = tag_of(client, "/tagged.txt")
    make(file, b"three")
    os.utime(file, ns=(moment, moment))
    assert len({before, one_later, tag_of(client, "/tagged.txt")}) == 3


def preconditions(etag):
    """Yield (field lines, status) for digits.txt with its *etag* (RFC 9110 §13.1, §13.2.2)."""
    before, after = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
    yield [f"If-None-Match: {etag}"], 304
    yield [f"If-None-Match: W/{etag}"], 304
    yield [f'If-None-Match: "other", W/"another",{etag}'], 304
    yield ['If-None-Match: "other"', f"If-None-Match: {etag}"], 304
    yield ["If-None-Match: *"], 304
    for field in ['"other"', etag[:-1], etag[1:-1], '"', "", "**", f'"other"{etag}', ", ".join(['"a"'] * 800)]:
        yield [f"If-None-Match: {field}"], 200
    yield [f"If-Modified-Since: {DATE}"], 304
    yield [f"If-Modified-Since: {after}"], 304
    yield ["If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"], 304
    yield ["If-Modified-Since: Sun Nov  6 08:49:37 1994"], 304
    yield [f"If-Modified-Since: {before}"], 200
    garbage = "Wed, 99 Jan 99999999999 99:99:99 GMT", "Fri, 31 Feb 2020 00:00:00 GMT", "garbage", "", "(" * 5000, "0"
    for field in (*garbage, "Sat, 01 Jan 0000 00:00:00 GMT", "-1", "9" * 5000):
        yield [f"If-Modified-Since: {field}"], 200
    yield [f"If-Match: {etag}"], 200
    yield [f'If-Match: "other", {etag}'], 200
    yield ["If-Match: *"], 200
    yield ['If-Match: "other"'], 412
    yield [f"If-Match: W/{etag}"], 412
    yield [f"If-Unmodified-Since: {DATE}"], 200
    yield [f"If-Unmodified-Since: {before}"], 412
    yield ["If-Unmodified-Since: garbage"], 200
    # The order: tags before dates, If-Match first, ranges last.
    yield ['If-None-Match: "other"', f"If-Modified-Since: {after}"], 200
    yield [f"If-None-Match: {etag}", f"If-Modified-Since: {before}"], 304
    yield [f"If-Match: {etag}", f"If-Unmodified-Since: {before}"], 200
    yield ['If-Match: "other"', f"If-None-Match: {etag}"], 412
    yield [f"If-Match: {etag}", f"If-None-Match: {etag}"], 304
    yield ['If-Match: "other"', "Range: bytes=5000-"], 412
    yield [f"If-None-Match: {etag}", "Range: bytes=0-1"], 304
    yield ['If-None-Match: "other"', "Range: bytes=0-1"], 206


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions_are_judged_as_the_rfc_says(client, method):
    etag = tag_of(client, "/digits.txt")
    for lines, status in preconditions(etag):
        answer = client.get("/digits.txt", *lines, method=method)
        expected = 200 if (method, status) == ("HEAD", 206) else status
        assert answer.status == expected, lines
        if method == "GET" and status == 200:
            assert answer.body == TEXT


def test_304_tells_what_a_cache_needs_and_nothing_about_a_body(client):
    whole = client.get("/digits.txt")
    unchanged = client.get("/digits.txt", "If-None-Match: *")
    for name in ("etag", "last-modified", "cache-control", "vary"):
        assert unchanged.fields[name] == whole.fields[name]
    assert not unchanged.fields.keys() & {"content-length", "content-type", "transfer-encoding", "content-range"}
    assert client.get("/digits.txt").body == TEXT


def test_a_missing_file_is_404_whatever_the_preconditions(client):
    for line in ("If-None-Match: *", "If-Match: *", 'If-Match: "x"', "Range: bytes=0-1"):
        assert_looks_missing(client, "/gone.txt", line)
        assert client.get("/gone.txt", line).status == 404


@pytest.mark.parametrize(
    ("mtime", "date"),
    [
        (315619200, "Wed, 02 Jan 1980 00:00:00 GMT"),
        (4102444800, None),  # 2100
        (253402300800, None),  # the year 10000, where the file system can say it
        (2**55, None),
    ],
)
def test_absurd_dates_of_files_do_no_harm(www, client, mtime, date):
    try:
        make(www / "absurd.txt", b"old or new", mtime)
    except OSError:
        pytest.skip("this file system knows no such time")
    answer = client.get("/absurd.txt")
    assert (answer.status, answer.body) == (200, b"old or new")
    # From the future: not later than Date (§8.8.2.1), or left out.
    assert answer.fields.get("last-modified") in ({date} if date else {None, answer.fields["date"]})
    assert client.get("/absurd.txt", f"If-None-Match: {answer.fields['etag']}").status == 304


FIXED_TIMES = [0, 1, -86400, 315532800]  # as Nix, git archive and zip set them, for all files and all versions


@pytest.mark.parametrize("mtime", FIXED_TIMES)
@pytest.mark.parametrize("way", ["written", "replaced"])
def test_a_time_that_a_tool_has_set_never_makes_other_bytes_pass_for_these(www, client, mtime, way):
    path = make(www / "fixed.txt", b"old", mtime)
    for content in (b"new", b"NEW", b"New"):
        before = client.get("/fixed.txt")
        assert (before.status, "last-modified" in before.fields) == (200, False)
        if way == "replaced":
            make(www / "fixed.new", content, mtime)
            (www / "fixed.new").rename(path)
        else:
            make(path, content, mtime)
        for lines in (
            [f"If-None-Match: {before.fields['etag']}"],
            ["If-Modified-Since: Tue, 01 Jan 1980 00:00:00 GMT"],
            [f"If-Modified-Since: {before.fields['date']}"],
            ["Range: bytes=0-1", f"If-Range: {before.fields['etag']}"],
            ["Range: bytes=0-1", "If-Range: Thu, 01 Jan 1970 00:00:01 GMT"],
        ):
            answer = client.get("/fixed.txt", *lines)
            assert (answer.status, answer.body) == (200, content), lines


def test_a_file_of_a_fixed_time_has_a_tag_that_stays(www, client):
    path = make(www / "fixed-long-ago.txt", TEXT, 1)
    wait_until(lambda: time.time() - path.stat().st_ctime > 0.2, "the file system's clock")
    etag = tag_of(client, "/fixed-long-ago.txt")
    assert client.get("/fixed-long-ago.txt", f"If-None-Match: {etag}").status == 304
    answer = client.get("/fixed-long-ago.txt", "Range: bytes=5-6", f"If-Range: {etag}")
    assert (answer.status, answer.body) == (206, b"56")


# Ranges (RFC 9110 §14).


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("0-99", 0, 100),
        ("500-", 500, 1000),
        ("990-2000", 990, 1000),
        ("-1", 999, 1000),
        ("-5000", 0, 1000),
        ("0-" + "9" * 5000, 0, 1000),
        ("-9223372036854775608", 0, 1000),
        ("000-0009", 0, 10),
        ("-9223372036854775608,-9223372036854775608", 0, 1000),  # CVE-2017-7529
        # Several that are one.
        ("0-9,5-20", 0, 21),
        ("10-19, 0-9", 0, 20),
        ("0-,0-", 0, 1000),
        ("1000-,5-5", 5, 6),
    ],
)
def test_a_range_is_answered_with_its_bytes(client, wanted, start, stop):
    answer = client.get("/digits.txt", f"Range: bytes={wanted}")
    assert answer.status == 206
    assert answer.body == TEXT[start:stop]
    assert answer.fields["content-range"] == f"bytes {start}-{stop - 1}/1000"
    assert answer.fields["content-length"] == str(stop - start)
    assert answer.fields["etag"] == tag_of(client, "/digits.txt")


@pytest.mark.parametrize(
    "field",
    [
        "bytes=0-,5-0,5-1,5-2," + ",".join(f"5-{last}" for last in range(1300)),  # CVE-2011-3192
        "bytes=" + ",".join(f"{first}-{first}" for first in range(0, 1600, 2)),  # CVE-2025-62727
        "bytes=" + ",".join(["0-0"] * 17),
        "bytes=0-1,5-2",
        "bytes=5-2",
        "bytes=\xb2-5",  # CVE-2025-69225
        "bytes=+1-2",
        "bytes=1_0-2_0",
        "bytes=0x0-0x9",
        "bytes=--5",
        "bytes=-",
        "bytes=",
        "bytes 0-5",
        "lines=0-5",
        "",
        "0-5",
    ],
)
def test_too_many_ranges_and_nonsense_are_answered_with_the_whole_file(client, field):
    answer = client.get("/digits.txt", f"Range: {field}")
    assert (answer.status, answer.body) == (200, TEXT)
    assert "content-range" not in answer.fields


def parts_of(answer):
    """Return [(fields, bytes)] of a multipart/byteranges answer, taken apart by Python's parser of mail."""
    assert answer.status == 206
    assert "content-range" not in answer.fields  # MUST NOT be there (§15.3.7.2)
    head = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body)
    assert message.get_content_type() == "multipart/byteranges" and not message.defects
    return [({n.lower(): v for n, v in part.items()}, part.get_payload(decode=True)) for part in message.get_payload()]


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("0-9,100-109", [(0, 10), (100, 110)]),
        ("0-0,-1", [(0, 1), (999, 1000)]),
        ("900-, 5-6, 2000-, 0-0", [(900, 1000), (5, 7), (0, 1)]),
        ("10-20,50-60,15-30", [(10, 31), (50, 61)]),
        (",".join(f"{n}-{n}" for n in range(0, 32, 2)), [(n, n + 1) for n in range(0, 32, 2)]),
    ],
)
def test_several_ranges_are_parts_of_one_answer(client, wanted, parts):
    answer = client.get("/digits.txt", f"Range: bytes={wanted}")
    found = parts_of(answer)
    assert [body for _, body in found] == [TEXT[start:stop] for start, stop in parts]
    for (fields, _), (start, stop) in zip(found, parts, strict=True):
        assert fields["content-range"] == f"bytes {start}-{stop - 1}/1000"
        assert fields["content-type"] == "text/plain; charset=utf-8"
    assert answer.fields["content-length"] == str(len(answer.body))
    assert answer.fields["etag"] == tag_of(client, "/digits.txt")
    assert client.get("/digits.txt").body == TEXT  # and the connection goes on


def test_parts_of_a_large_file_are_its_bytes(client):
    cuts = [(0, 400_000), (400_001, 400_002), (1_000_003, len(LARGE))]
    wanted = ",".join(f"{start}-{stop - 1}" for start, stop in cuts)
    found = parts_of(client.get("/large.bin", f"Range: bytes={wanted}"))
    assert [body for _, body in found] == [LARGE[start:stop] for start, stop in cuts]


def test_the_boundary_cannot_be_known_before(client):
    types = {client.get("/digits.txt", "Range: bytes=0-0,2-2").fields["content-type"] for _ in range(5)}
    assert len(types) == 5


def test_parts_count_only_for_the_state_of_the_file_that_if_range_names(client):
    etag, wanted = tag_of(client, "/digits.txt"), "Range: bytes=0-0,2-2"
    assert len(parts_of(client.get("/digits.txt", wanted, f"If-Range: {etag}"))) == 2
    for lines in ([wanted, 'If-Range: "other"'], [wanted, f"If-Range: W/{etag}"]):
        assert client.get("/digits.txt", *lines).body == TEXT
    assert client.get("/digits.txt", wanted, f"If-None-Match: {etag}").status == 304


def test_parts_of_a_precompressed_sibling_are_its_bytes_and_say_so(client):
    lines = "Range: bytes=0-1,4-6", "Accept-Encoding: gzip"
    answer = client.get("/app.js", *lines)
    assert [body for _, body in parts_of(answer)] == [b"as", b"zip"]
    assert [fields["content-encoding"] for fields, _ in parts_of(answer)] == ["gzip", "gzip"]
    assert "content-encoding" not in answer.fields  # the parts together are not compressed
    assert answer.fields["etag"] == tag_of(client, "/app.js", "Accept-Encoding: gzip")


@pytest.mark.parametrize("wanted", ["1000-", "1000-,2000-3000,-0", "5000-6000", "-0", "9" * 5000 + "-"])
def test_a_range_beyond_the_end_is_416_with_the_size(client, wanted):
    answer = client.get("/digits.txt", f"Range: bytes={wanted}")
    assert answer.status == 416
    assert answer.fields["content-range"] == "bytes */1000"
    assert client.get("/digits.txt").body == TEXT


def test_hostile_range_fields_cost_no_time(www, serve, connect):
    server = serve("Files", handler={"root": str(www)})
    client = connect(server)
    killer = "Range: bytes=" + ",".join(f"5-{last}" for last in range(1300))
    before = server.cpu_seconds()
    for field in (killer, "Range: bytes=" + ",".join(f"{n}-{n + 1000000}" for n in range(16, 0, -1))):
        for _ in range(25):
            assert client.get("/digits.txt", field).status in (200, 206)
    assert server.cpu_seconds() - before < 0.5


def test_a_range_of_an_empty_file(client):
    assert client.get("/empty.txt", "Range: bytes=0-").status == 416
    assert client.get("/empty.txt", "Range: bytes=-5").status == 200
    assert client.get("/empty.txt").body == b""


@pytest.mark.parametrize("start", [0, 1, 65535, 65536, 1_000_003, len(LARGE) - 1])
def test_ranges_of_a_large_file(client, start):
    answer = client.get("/large.bin", f"Range: bytes={start}-")
    assert answer.status == 206
    assert answer.body == LARGE[start:]


def test_a_range_counts_only_for_the_state_of_the_file_that_if_range_names(client):
    etag = tag_of(client, "/digits.txt")
    for validator in (etag, DATE):
        assert client.get("/digits.txt", "Range: bytes=0-4", f"If-Range: {validator}").body == b"01234"
    for validator in ('"other"', f"W/{etag}", "Sun, 06 Nov 1994 08:49:38 GMT", "garbage", "", f'{etag}, "x"', "*"):
        answer = client.get("/digits.txt", "Range: bytes=0-4", f"If-Range: {validator}")
        assert (answer.status, answer.body) == (200, TEXT), validator
    assert client.get("/digits.txt", "Range: bytes=5000-", 'If-Range: "other"').status == 200


def test_head_tells_of_the_whole_file_even_with_a_range(client):
    answer = client.get("/digits.txt", "Range: bytes=0-4", method="HEAD")
    assert (answer.status, answer.fields["content-length"]) == (200, "1000")
    assert comparable(answer)[1] == comparable(client.get("/digits.txt"))[1]
    several = client.get("/digits.txt", "Range: bytes=0-0,2-2", method="HEAD")
    assert comparable(several)[1] == comparable(answer)[1]


def test_a_range_does_not_reach_the_next_answer(client):
    client.get("/digits.txt", "Range: bytes=0-1")
    missing = client.get("/gone", "Range: bytes=0-1")
    assert missing.status == 404 and len(missing.body) > 2
    assert client.get("/digits.txt").body == TEXT


# Files whose length the system does not know.

UNSIZED = ["/proc/version", "/proc/sys/kernel/ostype", "/proc/self/maps", "/sys/class/net/lo/mtu"]


@pytest.mark.parametrize("name", [name for name in UNSIZED if os.path.exists(name)])
def test_a_file_without_a_true_size_is_sent_as_it_reads(start, connect, name):
    folder, _, file = os.path.realpath(name).rpartition("/")
    server = start("httpd.py", "-r", folder)
    client = connect(server)
    answer = client.get(f"/{file}")
    if file != "maps":  # it differs from process to process, and is long
        with open(name, "rb") as truth:
            assert answer.body == truth.read()
    assert answer.status == 200 and answer.body
    assert answer.fields["transfer-encoding"] == "chunked"
    # Nothing that the next answer, which may differ, would have to hold to.
    assert not {"etag", "last-modified", "content-length", "accept-ranges"} & answer.fields.keys()
    assert client.get(f"/{file}", "Range: bytes=0-0", "If-None-Match: *").status == 200
    head = client.get(f"/{file}", method="HEAD")
    assert (head.status, head.body, "content-length" in head.fields) == (200, b"", False)
    client.send(f"GET /{file} HTTP/1.0\r\n\r\n".encode())
    assert client.read_rest().partition(b"\r\n\r\n")[2][:5] == answer.body[:5]


@pytest.mark.skipif(not os.path.exists("/proc/config.gz"), reason="this kernel does not show its configuration")
def test_a_file_that_sendfile_refuses_is_read(start, connect):
    with open("/proc/config.gz", "rb") as truth:
        config = truth.read()
    client = connect(start("httpd.py", "-r", "/proc"))
    assert client.get("/config.gz").body == config
    assert client.get("/config.gz", "Range: bytes=5-").body == config[5:]


def test_a_sparse_file_and_an_empty_one_have_their_size(www, client):
    os.truncate(make(www / "sparse.bin"), 1_000_000)
    assert (www / "sparse.bin").stat().st_blocks == 0
    assert client.get("/sparse.bin").fields["content-length"] == "1000000"
    assert client.get("/sparse.bin", "Range: bytes=-1").body == b"\0"
    assert client.get("/empty.txt").fields["content-length"] == "0"


# Precompressed siblings (RFC 9110 §12.5.3).


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("br;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity;q=1", None),
        ("*", "br"),
        ("*;q=0.5, gzip", "gzip"),
        ("*;q=0", None),
        ("deflate, xgzip, gzipx", None),
        ("gzip;q=2", None),
    ],
)
def test_a_precompressed_sibling_is_sent_to_whom_it_suits(client, accepted, coding):
    lines = [] if accepted is None else [f"Accept-Encoding: {accepted}"]
    answer = client.get("/app.js", *lines)
    assert answer.fields.get("content-encoding") == coding
    assert answer.body == (f"as {coding}" if coding else "plain").encode()
    assert answer.fields["vary"] == "Accept-Encoding"
    assert answer.fields["content-type"] == "text/javascript"


def test_each_coding_is_a_representation_of_its_own(client):
    tags = {coding: tag_of(client, "/app.js", f"Accept-Encoding: {coding}") for coding in ("br", "zstd", "gzip", "x")}
    assert len(set(tags.values())) == 4
    for coding, etag in tags.items():
        line = f"Accept-Encoding: {coding}"
        unchanged = client.get("/app.js", line, f"If-None-Match: {etag}")
        assert (unchanged.status, unchanged.fields["vary"]) == (304, "Accept-Encoding")
    assert client.get("/app.js", "Accept-Encoding: br", f"If-None-Match: {tags['gzip']}").body == b"as br"
    part = client.get("/app.js", "Accept-Encoding: gzip", "Range: bytes=3-", f"If-Range: {tags['gzip']}")
    assert (part.status, part.body, part.fields["content-range"]) == (206, b"gzip", "bytes 3-6/7")
    assert part.fields["content-encoding"] == "gzip"
    head = client.get("/app.js", "Accept-Encoding: gzip", method="HEAD")
    assert (head.fields["content-length"], head.fields["content-encoding"]) == ("7", "gzip")


def test_a_handler_says_which_codings_it_has(serve, connect, www):
    handler = {"root": str(www), "coding_suffixes": {"gzip": ".gz", "compress": ".br"}}
    client = connect(serve("Files", handler=handler))
    answer = client.get("/app.js", "Accept-Encoding: br, gzip;q=0.5")
    assert (answer.status, answer.fields["content-encoding"]) == (200, "gzip")
    assert client.get("/app.js", "Accept-Encoding: compress").fields["content-encoding"] == "compress"


def test_codings_of_one_size_and_age_still_have_tags_of_their_own(www, client):
    for suffix in ("", ".gz", ".br"):
        make(www / f"twins.txt{suffix}", b"same size", MTIME)
    assert len({tag_of(client, "/twins.txt", f"Accept-Encoding: {coding}") for coding in ("x", "gzip", "br")}) == 3


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_sibling_that_is_no_file_of_the_site_is_as_good_as_absent(client, coding):
    # A link to the outside (CVE-2024-42367), a FIFO, a folder.
    answer = client.get("/trap.js", f"Accept-Encoding: {coding}")
    assert (answer.status, answer.body) == (200, b"plain")
    assert "content-encoding" not in answer.fields


def test_a_compressed_file_asked_for_by_name_is_just_that_file(client):
    answer = client.get("/app.js.gz", "Accept-Encoding: gzip")
    assert answer.fields["content-type"] == "application/gzip"
    assert "content-encoding" not in answer.fields
    assert answer.body == b"as gzip"


# Types.


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("page.html", "text/html"),
        ("old.htm", "text/html"),
        ("UPPER.HTML", "text/html"),
        ("film.swf", "application/x-shockwave-flash"),
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("a.jpg", "image/jpeg"),
        ("a.jpeg", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.gif", "image/gif"),
        ("a.svg", "image/svg+xml"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("app.mjs", "text/javascript"),
        ("app.cjs", "text/javascript"),
        ("app.js.map", "application/json"),
        ("page.xhtml", "application/xhtml+xml"),
        ("feed.rss", "application/rss+xml"),
        ("feed.atom", "application/atom+xml"),
        ("a.ogg", "audio/ogg"),
        ("a.oga", "audio/ogg"),
        ("a.opus", "audio/ogg"),
        ("a.flac", "audio/flac"),
        ("a.m4a", "audio/mp4"),
        ("a.m4v", "video/mp4"),
        ("a.ts", "video/mp2t"),
        ("a.vtt", "text/vtt; charset=utf-8"),
        ("a.woff", "font/woff"),
        ("a.ttf", "font/ttf"),
        ("a.otf", "font/otf"),
        ("a.eot", "application/vnd.ms-fontobject"),
        ("a.yaml", "application/yaml"),
        ("a.toml", "application/toml"),
        ("a.log", "text/plain; charset=utf-8"),
        ("a.ini", "text/plain; charset=utf-8"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        ("a.glb", "model/gltf-binary"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.rtf", "application/rtf"),
        ("a.kml", "application/vnd.google-earth.kml+xml"),
        ("a.avif", "image/avif"),
        ("a.jxl", "image/jxl"),
        ("site.webmanifest", "application/manifest+json"),
        ("README", "text/plain; charset=utf-8"),
        ("LICENSE", "text/plain; charset=utf-8"),
        ("Makefile", "text/plain; charset=utf-8"),
        ("README.html", "text/html"),
        ("a.py", "text/x-python; charset=utf-8"),
        ("a.tar.gz", "application/gzip"),
        ("a.csv", "text/csv; charset=utf-8"),  # from Python's own table
        ("a.unheard-of", "application/octet-stream"),
        ("no-suffix", "application/octet-stream"),
        ("dot.", "application/octet-stream"),
        ("x.html?y.png", "image/png"),  # mimetypes.guess_type() would take both names for URLs
        ("data:text,x.png", "image/png"),
        ("http:a.b.png", "image/png"),
    ],
)
def test_the_type_is_that_of_the_last_suffix(www, client, name, media_type):
    make(www / "types" / name)
    target = "/types/" + name.replace("?", "%3F")
    answer = client.get(target)
    assert answer.status == 200
    assert answer.fields["content-type"] == media_type
    assert answer.fields["x-content-type-options"] == "nosniff"


def test_an_svgz_is_a_compressed_svg(www, client):
    make(www / "a.svgz", gzip.compress(b"<svg/>"))
    answer = client.get("/a.svgz")
    assert (answer.fields["content-type"], answer.fields["content-encoding"]) == ("image/svg+xml", "gzip")
    assert gzip.decompress(answer.body) == b"<svg/>"


def test_a_type_of_the_user_goes_before_ours_and_is_sent_as_it_is(www, start, connect):
    types = [".TXT=text/plain; charset=koi8-r", ".unheard-of=model/x-thing", ".html=text/html; charset=iso-8859-1"]
    client = connect(start("httpd.py", "-r", www, *(word for text in types for word in ("--type", text))))
    make(www / "a.unheard-of")
    for target, text in (("/digits.txt", types[0]), ("/a.unheard-of", types[1]), ("/page.html", types[2])):
        assert client.get(target).fields["content-type"] == text.partition("=")[2]
    assert client.get("/app.js").fields["content-type"] == "text/javascript"


def test_the_tables_of_this_machine_and_of_an_application_are_not_asked(www, tmp_path, start, connect):
    (tmp_path / "known.py").write_text(
        "import mimetypes\nmimetypes.init(['mime.types'])\nmimetypes.add_type('x/y', '.csv')\n"
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
    )
    (tmp_path / "mime.types").write_text("x/z csv unheard-of\n")
    make(www / "a.csv")
    make(www / "a.unheard-of")
    client = connect(start("async_wsgi.py", "known:application", "--static", f"/s={www}", cwd=tmp_path))
    assert client.get("/s/a.csv").fields["content-type"] == "text/csv; charset=utf-8"
    assert client.get("/s/a.unheard-of").fields["content-type"] == "application/octet-stream"


# Folders and redirects.


def test_a_folder_is_its_index(client):
    assert client.get("/").body == b"<!DOCTYPE html><title>front</title>"
    answer = client.get("/dir2/")
    assert (answer.status, answer.fields["content-type"], answer.body) == (200, "text/html", b"<p>index of dir2")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/dir2", "/dir2/"),
        ("/dir2?a=%0d%0ab&c", "/dir2/?a=%0d%0ab&c"),
        ("/dir2?", "/dir2/?"),
        ("/dir2?//evil.example/?x", "/dir2/?//evil.example/?x"),
        ("/dir2?%22%3E%3Cscript%3E", "/dir2/?%22%3E%3Cscript%3E"),
        ("/%64ir2", "/%64ir2/"),
        ('/dir2?"<script>\\', "/dir2/?%22%3Cscript%3E%5C"),
        # Never to another host: CVE-2021-28861, CVE-2023-28370, CVE-2021-21330, CVE-2020-28724, CVE-2018-14574.
        ("//evil.example/dir2", "/evil.example/dir2/"),
        ("///evil.example/dir2", "/evil.example/dir2/"),
        ("//evil.example/x/%2e%2e/dir2", "/evil.example/x/%2e%2e/dir2/"),
        ("http://evil.example/dir2", "/dir2/"),
        ("http://a//evil.example/dir2", "/evil.example/dir2/"),
    ],
)
def test_a_folder_without_its_slash_is_redirected_within_this_host(client, target, location):
    answer = client.get(target, "X-Forwarded-Host: evil.example")
    assert (answer.status, answer.fields["location"]) == (301, location)
    assert b"script" not in answer.body
    followed = client.get(location)
    assert followed.status == 200


def test_a_redirect_does_not_depend_on_host(client):
    client.send(b"GET /dir2 HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert client.read_answer().fields["location"] == "/dir2/"


@pytest.mark.parametrize(
    "target",
    [
        "/bare",
        "/bare/",
        "/folder-index/",
        "/folder-index",
        "/folder-index/index.html",
        "/folder.html",
        "/folder.html/",
        "/page.html/",
        "/page.html%2f",
        "/page.html/x",
        "/dir2/index.html/",
        "//evil.example/%2f..",
        "//evil.example/..;/dir2",
        "/%5cevil.example/dir2",
        "/%09/evil.example",
        "/indexed/",
    ],
)
def test_a_folder_without_index_and_a_file_used_as_a_folder_are_missing(client, target):
    assert_looks_missing(client, target)


def test_doubled_slashes_and_dots_are_one_way_to_the_same_file(client):
    page = client.get("/dir2/page.html")
    for target in (
        "//dir2//page.html",
        "/./dir2/../dir2/page.html",
        "/dir2/%2e%2e/dir2/./page.html",
        "/../dir2/page.html",
    ):
        assert comparable(client.get(target)) == comparable(page)


# What is not served, and looks like what does not exist.


@pytest.mark.parametrize(
    "target",
    [
        "/../../../../../../../../etc/passwd",
        "/icons/.%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",  # CVE-2021-41773
        "/%252e%252e/%252e%252e/etc/passwd",  # CVE-2021-42013
        "/.%0d./.%0d./.%0d./etc/passwd",  # CVE-2019-16278
        "/..%5c..%5cwin.ini",  # CVE-2008-1145
        "/c%3a%5cwindows%5cwin.ini",
        "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",  # CVE-2000-0884
        "/index.html%00.txt",  # CVE-2023-40587
        "/..%00/index.html",
        "/%00",
        "/../www-secret/f",  # CVE-2023-29159
        "/../outside/secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2Fetc/passwd",
        "/..%2foutside%2fsecret.txt",
        "/dir2%2fpage.html",
        "/dir2%2Fpage.html",
        "/out",
        "/out?x",
        "/outdir",
        "/outdir/",
        "/outdir/secret.txt",
        "/beside/f",
        "/dangling",
        "/loop",
        "/loop/x",
        "/digits.txt/x",
        "/.env",
        "/.git/config",
        "/%2egit/config",  # CVE-2018-3712
        "/.GIT/config",
        "/dir2/.htaccess",
        "/dir2/%2ehtaccess",
        "/.well-known/.git/config",
        "/.well-known/../.git/config",
        "/.well-known.old",
        "/...",
        "/fifo",
        "/socket",
        "/zero",
        "/cgi-bin//x",
        "/" + "a" * 300,
        "/" + "a/" * 3000,
        "/%ed%a0%80",
        "/%fe",
        "/%80",
        "/a%09b",
        "/a%0ab",
        "/%1b]2;pwned%07",
        "/~root/",
        "/%25s%25n",
    ],
)
def test_whatever_is_not_of_the_site_looks_missing(client, target):
    assert_looks_missing(client, target)


@pytest.mark.parametrize(
    "target",
    [
        "/%%32%65%%32%65/etc/passwd",
        "/%u002e%u002e/x",
        "/%zz",
        "/%",
        "/%1",
        "/\\evil.example/dir2",
        "/\\evil.example/dir2?a",
        "/a\tb",
        "/\x80",
        "/a#b",
    ],
)
def test_a_malformed_target_is_400_and_closes(client, target):
    client.send(
        f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\nGET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1")
    )
    answer = client.read_answer()
    assert (answer.status, answer.fields["connection"]) == (400, "close")
    assert client.read_rest() == b""


@pytest.mark.parametrize("target", ['/a"b<c>.txt', "/a%22b%3Cc%3E.txt", '/a"b%3cc>.txt?C:\\dir"<>'])
def test_a_name_is_found_as_curl_and_browsers_ask_for_it(client, target):
    assert client.get(target).body == b"quoted"


def test_well_known_is_served(client):
    assert client.get("/.well-known/security.txt").body == b"Contact: mailto:a@example.org"


def test_hidden_files_are_served_when_asked_for(www, start, connect):
    client = connect(start("httpd.py", "-r", www, "--hidden", "--listing"))
    for target in ("/.env", "/.git/config", "/dir2/.htaccess", "/.well-known/.git/config"):
        assert client.get(target).body == SECRET
    assert b".git/" in client.get("/.well-known/").body
    assert client.get("/.%2e/outside/secret.txt").status == 404


def test_a_link_that_stays_inside_is_served(client):
    assert client.get("/inside").body == b"<p>page in dir2"


def test_names_are_bytes(client):
    assert client.get("/%ff").body == b"no UTF-8"
    assert client.get("/Gr%C3%BC%C3%9Fe%20an%20Zo%C3%AB.html").body == b"<p>umlauts"


def test_a_fifo_holds_up_nobody(client, connect, server):
    """A read end that waits for a writer would stop the loop for all."""
    for _ in range(20):
        client.send(b"GET /fifo HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connect(server).get("/digits.txt").status == 200
    assert [client.read_answer().status for _ in range(20)] == [404] * 20


@pytest.mark.parametrize("target", ["/", "/dir2/", "/digits.txt", "/gone", "/.env", "/out", "/bare/", "/dir2"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "BREW"])
def test_other_methods_are_405_and_say_what_is_allowed(client, method, target):
    answer = client.get(target, "X-Secret: echo me not", method=method)
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert b"echo me not" not in answer.body


def test_errors_tell_nothing_about_this_machine(www, client, server):
    told = [client.get(target) for target in ("/gone", "/out", "/bare", "/%3Cscript%3E")]
    told += [client.get("/", method="POST"), client.get("/digits.txt", "Range: bytes=9999-")]
    told += [client.get("/digits.txt", 'If-Match: "x"')]
    client.send(b"GET /%zz<script> HTTP/1.1\r\nHost: a\r\n\r\n")
    for answer in (*told, client.read_answer()):
        everything = str(answer)
        for secret in (str(www), "ython", "raceback", "script", "httpd.py", "/tmp"):
            assert secret not in everything


@pytest.mark.parametrize("target", ["/gone", "/bare/", "/dir2", "/digits.txt", "/"])
def test_head_is_get_without_its_body(client, target):
    get, head = client.get(target), client.get(target, method="HEAD")
    assert comparable(head)[:2] == comparable(get)[:2]
    assert head.body == b""


def without_root_powers():
    """Let the permissions of files count for the process, even if root runs the tests."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/capability.h
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; for others than root it fails, which is as good


def test_a_file_that_must_not_be_read_is_403_but_outside_of_the_root_it_is_missing(tmp_path, start, connect):
    www = tmp_path / "www"
    make(www / "private.txt", SECRET).chmod(0)
    make(www / "closed" / "file.txt", SECRET)
    outside = make(tmp_path / "outside" / "file.txt", SECRET)
    (www / "out").symlink_to(outside)
    (www / "outdir").symlink_to(outside.parent)
    outside.chmod(0)
    (www / "closed").chmod(0)
    client = connect(start("httpd.py", "-r", www, preexec_fn=without_root_powers))
    assert client.get("/private.txt").status == 403
    assert client.get("/closed/file.txt").status == 403
    assert_looks_missing(client, "/out")
    outside.parent.chmod(0)
    assert_looks_missing(client, "/outdir/file.txt")
    assert_looks_missing(client, "/outdir/none")
    (www / "closed").chmod(0o700)
    outside.parent.chmod(0o700)


# Options.


def test_the_root_may_have_a_404_page_of_its_own(tmp_path, start, connect):
    page = make(tmp_path / "www" / "404.html", b"<p>lost?")
    server = start("httpd.py", "-r", page.parent)
    client = connect(server)
    answer = client.get("/gone")
    assert (answer.status, answer.fields["content-type"], answer.body) == (404, "text/html", b"<p>lost?")
    assert_looks_missing(client, "/.env")
    assert client.get("/gone", method="HEAD").fields["content-length"] == "8"
    assert client.get("/", method="POST").fields["content-type"] == "text/plain"
    # Traps in its place.
    make(tmp_path / "secret", SECRET)
    before = server_descriptors(server)
    for trap in (lambda: page.symlink_to(tmp_path / "secret"), lambda: os.mkfifo(page), page.mkdir):
        page.unlink()
        trap()
        answer = client.get("/gone")
        assert (answer.status, answer.fields["content-type"]) == (404, "text/plain")
    assert server_descriptors(server) == before


BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accepted", "media_type"),
    [
        (BROWSER, "text/html; charset=utf-8"),
        ("Accept: text/html", "text/html; charset=utf-8"),
        ("Accept: */*", "text/plain"),
        ("Accept: application/json", "text/plain"),
        ("X: y", "text/plain"),
    ],
)
def test_errors_are_a_page_for_browsers_and_a_line_for_others(client, accepted, media_type):
    for target, method, status in (("/gone", "GET", 404), ("/gone", "HEAD", 404), ("/", "PUT", 405)):
        answer = client.get(target, accepted, method=method)
        assert (answer.status, answer.fields["content-type"]) == (status, media_type)
        assert "Accept" in answer.fields["vary"]  # or a shared cache would hand one of them to all
        assert method == "HEAD" or str(status).encode() in answer.body


def test_the_page_of_an_error_is_small_needs_nothing_and_shows_nothing_of_the_request(client):
    answer = client.get("/<script>alert(1)</script>?<b>", BROWSER, "Referer: <i>")
    assert answer.status == 404 and len(answer.body) < 2048
    assert answer.fields["content-security-policy"].startswith("default-src 'none'")
    for hostile in (b"<script", b"alert", b"<b>?", b"<i>", b"src=", b"@import", b"url("):
        assert hostile not in answer.body
    assert b"color-scheme: light dark" in answer.body
    assert_looks_missing(client, "/.env", BROWSER)


def server_descriptors(server):
    """Return how many descriptors the worker has open."""
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in server.workers()]


def test_cache_says_how_long_files_may_be_kept(www, start, connect):
    client = connect(start("httpd.py", "-r", www, "--cache", 3600))
    assert client.get("/digits.txt").fields["cache-control"] == "max-age=3600"
    assert client.get("/digits.txt", "If-None-Match: *").fields["cache-control"] == "max-age=3600"


def test_fields_of_the_user_are_on_every_answer(www, start, connect):
    fields = {"access-control-allow-origin": "*", "x-a": "a: b"}
    client = connect(start("httpd.py", "-r", www, "-H", "Access-Control-Allow-Origin:*", "-H", "X-A:  a: b "))
    etag = tag_of(client, "/digits.txt")
    answers = [client.get("/digits.txt"), client.get("/gone"), client.get("/dir2"), client.get("/", method="PUT")]
    answers.append(client.get("/digits.txt", f"If-None-Match: {etag}"))
    assert [answer.status for answer in answers] == [200, 404, 301, 405, 304]
    for answer in answers:
        assert fields.items() <= answer.fields.items()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            ("-H", value)
            for value in ("no colon", ": empty", "a b: c", "X: a\r\nY: b", "X: a\nY: b", "X: a\0b", "X: →")
        ),
        *(("-H", value) for value in ("Content-Length: 5", "transfer-encoding: chunked", "Connection: close")),
        # We send these ourselves, and two of them contradict each other.
        *(("-H", value) for value in ("Date: now", "Server: x", "ETag: x", "Cache-Control: public", "Location: /")),
        *(("--cache", value) for value in ("-1", "1.5", "", "x", "²", "1_0", "9" * 5000)),
        *(
            ("--type", value)
            for value in ("", ".a", "a=b/c", ".=b/c", ".a/b=c/d", ".a=b", ".a=b/", ".a=b/c\r\nX: y", ".a=b /c")
        ),
        ("-r", "/no/such/folder"),
        ("-r", str(ROOT / "httpd.py")),
    ],
)
def test_a_bad_option_is_one_line_and_status_2(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        httpd.parse_args([option, value])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert len(said.err.splitlines()) == 1, said.err
    assert said.out == ""


def test_links_to_the_outside_are_served_when_asked_for(www, start, connect):
    client = connect(start("httpd.py", "-r", www, "--follow-symlinks"))
    assert client.get("/out").body == SECRET
    assert client.get("/outdir/secret.txt").body == SECRET
    assert client.get("/trap.js", "Accept-Encoding: gzip").body == SECRET
    for target in ("/zero", "/fifo", "/socket", "/dangling", "/loop", "/.env", "/../outside/secret.txt"):
        assert_looks_missing(client, target)


def read_terminal(fd):
    """Return what a program wrote to the terminal whose master is *fd*, until it has closed it."""
    said = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # EIO: the last writer is gone
            return said.decode()
        if not piece:
            return said.decode()
        said += piece


def start_up_lines(*options, log=None, **environment):
    """Run the server with its stderr at a terminal, end it once it serves, and return what it said.

    log -- file in which it says that it serves, if that is not the terminal
    """
    master, slave = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = python_command("httpd.py", "--port", 0, "-r", ROOT / "www", *options)
    with subprocess.Popen(command, stderr=slave, env={**plain, **environment}) as process:
        os.close(slave)
        said = b""
        if log:
            wait_until(lambda: log.exists() and "Serving" in log.read_text(), "the server serves")
        else:
            while b"Serving" not in said:
                said += os.read(master, 65536)
        process.terminate()
        said = said.decode() + read_terminal(master)
    os.close(master)
    return re.sub(".* running as root, .*\n", "", said)  # where the tests do


def test_serving_more_than_this_machine_is_said_loudly_with_the_addresses():
    said = start_up_lines("--host", "0.0.0.0")
    port = re.search(r":(\d+)/", said)[1]
    warning = said.splitlines()[1]
    assert "Anybody" in warning
    assert re.search(rf"\x1b\[.*http://[0-9.]+:{port}/.*\x1b\[0m", warning)
    assert "://0.0.0.0" not in warning
    assert "http://[" not in warning  # nobody listens there


def test_serving_this_machine_alone_is_no_reason_to_warn():
    for host in ("127.0.0.1", "127.0.0.2", "localhost"):
        assert len(start_up_lines("--host", host).splitlines()) == 1


def test_the_ipv6_wildcard_means_both_families_and_is_warned_about():
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    serving, warning = start_up_lines("--bind", "::").splitlines()
    assert "http://0.0.0.0:" in serving and "http://[::]:" in serving
    assert "Anybody" in warning
    assert "://0.0.0.0" not in warning and "://[::]" not in warning


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_any_address_that_others_can_reach_is_warned_about():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, only asks for the route
        except OSError:
            pytest.skip("this machine has no other address")
        own = probe.getsockname()[0]
    lines = start_up_lines("--host", own).splitlines()
    assert "Anybody" in lines[1] and f"http://{own}:" in lines[1]


def test_no_color_and_log_files_get_no_escape_sequences(tmp_path):
    assert "\x1b" not in start_up_lines("--host", "0.0.0.0", NO_COLOR="1")
    start_up_lines("--host", "0.0.0.0", "--logfile", str(tmp_path / "log"), log=tmp_path / "log")
    log = (tmp_path / "log").read_text()
    assert "Anybody" in log
    assert "\x1b" not in log


def test_ipv6_is_served(www, start, connect):
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    server = start("httpd.py", "-r", www, "--host", "::1")
    assert connect(server).get("/digits.txt").body == TEXT


# Speed.


def test_a_small_file_leaves_in_one_piece_with_its_head(www, tmp_path, connect):
    settings = json.dumps({"handler": {"root": str(www)}})
    with running_servers(tmp_path) as run:
        server = run(python_command("tests/file_server.py", "counting", "Files", settings)).wait_started()
        client = connect(server)
        client.get("/calls")
        for target in ("/digits.txt", "/empty.txt", "/", "/gone", "/dir2"):
            client.get(target)
            calls = client.get("/calls").body.decode()
            assert calls.count("s") == 2, (target, calls)  # one for it, one for the answer to /calls before it


def test_no_answer_keeps_a_descriptor(www, serve, connect):
    server = serve("Files", handler={"root": str(www), "listing": True})
    client = connect(server)
    client.get("/gone")
    before = server.descriptors()
    targets = ["/digits.txt", "/dir2", "/dir2/", "/bare/", "/app.js", "/trap.js", "/gone", "/out", "/outdir", "/fifo"]
    lines = ["", "Range: bytes=0-1", "Range: bytes=9999-", "If-None-Match: *", 'If-Match: "x"', "Accept-Encoding: gzip"]
    for method in ("GET", "HEAD", "POST"):
        for target in (*targets, "/folder.html", "/folder-index/", "/zero", "/.env"):
            for line in lines:
                client.get(target, line or "X: y", method=method)
    client.get("/gone")
    assert server.descriptors() == before


# The clients that people use.


def run_tool(*command):
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout


@pytest.mark.parametrize(
    "command", [("curl", "-sS", "-f", "-C", "-", "-o"), ("wget", "-q", "-c", "-O")], ids=["curl", "wget"]
)
def test_a_broken_download_is_taken_up_again(server, tmp_path, command):
    file = make(tmp_path / "large.bin", LARGE[:1_000_000])
    run_tool(*command, str(file), server.url + "large.bin")
    assert file.read_bytes() == LARGE


def test_curl_gets_parts_heads_and_codings(server):
    assert run_tool("curl", "-sS", "-r", "10-14", server.url + "digits.txt") == b"01234"
    assert run_tool("curl", "-sS", "-r", "-3", server.url + "digits.txt") == b"789"
    assert b"Content-Length: 1000\r\n" in run_tool("curl", "-sS", "-I", server.url + "digits.txt")
    assert run_tool("curl", "-sSL", server.url + "dir2") == b"<p>index of dir2"


def test_curl_undoes_a_coding(server, www):
    make(www / "packed.txt", TEXT)
    make(www / "packed.txt.gz", gzip.compress(TEXT))
    assert run_tool("curl", "-sS", "--compressed", server.url + "packed.txt") == TEXT


# What a linter of HTTP says to the heads.


def lint(target, answer, method=b"GET"):
    linter = httplint.HttpResponseLinter(start_time=time.time())
    linter.base_uri = f"http://a{target}"
    linter.process_response_topline(b"HTTP/1.1", str(answer.status).encode(), b"")
    linter.process_headers([(n.encode("latin-1"), v.encode("latin-1")) for n, v in answer.fields.items()])
    linter.feed_content(answer.body)
    linter.finish_content(True)
    return [f"{note.subject}: {note.summary}" for note in linter.notes if note.level in (levels.WARN, levels.BAD)]


@pytest.mark.parametrize(
    ("target", "line", "method", "status"),
    [
        ("/digits.txt", "", "GET", 200),
        ("/dir2/", "", "GET", 200),
        ("/app.js", "Accept-Encoding: gzip", "GET", 200),
        ("/digits.txt", "Range: bytes=0-9", "GET", 206),
        ("/digits.txt", "If-None-Match: *", "GET", 304),
        ("/dir2", "", "GET", 301),
        ("/gone", "", "GET", 404),
        ("/", "", "POST", 405),
        ("/digits.txt", 'If-Match: "x"', "GET", 412),
        ("/digits.txt", "Range: bytes=9999-", "GET", 416),
    ],
)
def test_httplint_finds_nothing_to_say(client, target, line, method, status):
    answer = client.get(target, *[line][: len(line)], method=method)
    assert answer.status == status
    assert lint(target, answer) == []

"""The files of a document root, as curl gets them."""

import calendar
import email.utils
import mimetypes
import re
import time

import pytest

from . import causes
from .clients import Connection, check, curl, request
from .messages import say
from .server import wait_until
from .site import FILES, IMAGES, LARGE, SECRET

rule = pytest.mark.rule
PAGE = "/page.html"


def check_served(server, target, name, cause=None):
    """Check that *target* is answered with 200 and the content of the file *name*; *cause* gets the answer."""
    answer = curl(server, target)
    content = FILES[name]
    check(
        answer.status == 200 and answer.body == content and not answer.note,
        sent=f"GET {target}",
        got=answer,
        expected=say("200 and the {count} bytes of the file {name!r}", count=len(content), name=name),
        cause=lambda: (cause and cause(answer)) or causes.of_wrong_body(server, answer),
    )


def check_status(server, target, *statuses, cause=None):
    answer = curl(server, target)
    check(
        answer.status in statuses,
        sent=f"GET {target}",
        got=answer,
        expected=say(" or ").join(map(str, statuses)),
        cause=cause and (lambda: cause(answer)),
    )


@rule("file")
def test_file_is_served(httpd):
    check_served(httpd, "/page.html", "page.html")


@rule("index")
@pytest.mark.parametrize("folder", ["/", "/dir/"])
def test_folder_is_answered_with_its_index_html(httpd, folder):
    check_served(httpd, folder, f"{folder[1:]}index.html")


@rule("no-index")
def test_folder_without_index_html_is_404_or_403(httpd):
    check_status(httpd, "/no-index/", 404, 403)


@rule("missing")
def test_missing_file_is_404(httpd):
    check_status(httpd, "/no-such-file.html", 404)


@rule("nested")
def test_file_in_nested_folders_is_served(httpd):
    check_served(httpd, "/dir1/dir12/dir123/deep.txt", "dir1/dir12/dir123/deep.txt")


@rule("empty")
def test_empty_file_is_200_with_length_0(httpd):
    answer = curl(httpd, "/empty.txt")
    check(
        answer.status == 200 and answer.field("Content-Length") == "0" and not answer.note,
        sent=say("GET /empty.txt (a file of 0 bytes)"),
        got=answer.with_field("Content-Length"),
        expected=say("200 with {field}: {value}", field="Content-Length", value=0),
        cause=lambda: causes.of_empty_file(httpd, answer),
    )


# Names and escapes


@rule("escapes")
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/space%20in%20name.txt", "space in name.txt"),
        ("/%70age.html", "page.html"),
        ("/%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82.txt", "\u043f\u0440\u0438\u0432\u0435\u0442.txt"),
        ("/%2541.txt", "%41.txt"),
    ],
    ids=["space", "letter", "UTF-8", "percent"],
)
def test_escapes_are_decoded_once(httpd, target, name):
    check_served(httpd, target, name, lambda answer: causes.of_escapes(httpd, answer))


@rule("query")
@pytest.mark.parametrize("query", ["arg1=value&arg2=value", "next=/dir/&q=%2F", ""])
def test_query_after_the_path_is_ignored(httpd, query):
    check_served(httpd, f"/page.html?{query}", "page.html", lambda answer: causes.of_query(httpd, answer))


@rule("slash")
def test_slash_after_a_file_name_is_404(httpd):
    check_status(httpd, "/page.html/", 404, cause=lambda answer: causes.of_slash(httpd, answer))


@rule("dots")
@pytest.mark.parametrize("name", ["text..txt", ".well-known/x.txt"])
def test_dots_inside_a_name_are_kept(httpd, name):
    check_served(httpd, f"/{name}", name, lambda answer: causes.of_dots(httpd, answer, name))


@rule("dots")
def test_dot_before_a_name_is_not_stripped(httpd):
    """A server may keep such files to itself, but must not take them for others."""
    name = "dir/.hidden.txt"
    answer = curl(httpd, f"/{name}")
    check(
        answer.status in (403, 404) or (answer.status == 200 and answer.body == FILES[name]),
        sent=f"GET /{name}",
        got=f"{answer}: {answer.body[:60]!r}",
        expected=say("200 with the file {name!r} (or 404, if hidden files are not served)", name=name),
        cause=lambda: causes.of_dots(httpd, answer, name) or causes.of_wrong_body(httpd, answer),
    )


# Outside the root


OUTSIDE = {
    "/dir/../../secret.txt": "plain",
    "/%2e%2e/secret.txt": "escaped",
    "/..%2fsecret.txt": "escaped",
    "/dir/%2E./.%2e/secret.txt": "escaped",
    "/%252e%252e/secret.txt": "twice",
    "/../www-secret/secret.txt": "sibling",
}


def check_refused(server, target, kind):
    """Check that *target* neither gives away a file outside the root nor goes without an answer."""
    answer = curl(server, target)
    leaked = SECRET.strip() in answer.body
    check(
        not leaked and answer.status in (400, 403, 404),
        sent=f"GET {target}",
        got=say("{answer}: a file outside the root", answer=answer) if leaked else answer,
        expected=say("404 (400 and 403 pass too)"),
        cause=lambda: causes.of_leak(server, kind) if leaked else causes.of_no_answer_to_dots(server, answer),
    )


@rule("root")
@pytest.mark.parametrize("target", OUTSIDE)
def test_nothing_outside_the_root_is_served(httpd, target):
    check_refused(httpd, target, OUTSIDE[target])


@rule("root")
def test_absolute_path_after_two_slashes_is_not_served(httpd, site):
    check_refused(httpd, f"/{site.parent}/secret.txt", "join")


@rule("normalize")
@pytest.mark.parametrize("target", ["/a../b", "/" + 12 * "../", "/dir/" + 12 * "../" + "a../b/.../c"])
def test_odd_path_is_answered(httpd, target):
    """Whoever asks for /a../b stops a server built on the handout's own url_normalize."""
    answer = curl(httpd, target)
    check(
        answer.status is not None and answer.status < 500,
        sent=f"GET {target}",
        got=answer,
        expected=say("an answer: 404, or what this path leads to"),
        cause=lambda: causes.of_no_answer_to_dots(httpd, answer),
    )


# The fields of an answer


TYPES = {
    "types/page.html": ["text/html"],
    "types/style.css": ["text/css"],
    "types/script.js": ["text/javascript", "application/javascript", "application/x-javascript"],
    "types/photo.jpg": ["image/jpeg"],
    "types/photo.jpeg": ["image/jpeg"],
    "types/drawing.png": ["image/png"],
    "types/moving.gif": ["image/gif"],
    "types/film.swf": ["application/x-shockwave-flash"],
    "types/text.txt": ["text/plain"],
    "": ["text/html"],  # the root's index.html
}


@rule("content-type")
@pytest.mark.parametrize("name", TYPES)
def test_content_type_follows_the_file_name(httpd, name):
    answer = curl(httpd, f"/{name}")
    field = answer.field("Content-Type")
    value = field.partition(";")[0].strip()  # a charset may follow
    check(
        answer.status == 200 and value in TYPES[name],
        sent=f"GET /{name}",
        got=answer.with_field("Content-Type"),
        expected=say("200 with {field}: {value}", field="Content-Type", value=say(" or ").join(TYPES[name])),
        cause=lambda: cause_of_type(answer, name),
    )


def cause_of_type(answer, name):
    if answer.field("Content-Type") == mimetypes.guess_type(name)[0]:
        return "types-of-the-system"
    return causes.of_missing_field(answer, "Content-Type")


@rule("content-length")
@pytest.mark.parametrize("name", ["page.html", "cyrillic.html", "cyrillic.txt"])
def test_content_length_is_the_size_of_the_file_and_nothing_follows(httpd, name):
    with Connection(httpd) as client:
        client.send(request(f"/{name}", "Connection: close"))
        answer = client.read()
        extra = client.rest()
    length, content = answer.field("Content-Length"), FILES[name]
    check(
        answer.status == 200 and length == str(len(content)) and answer.body == content and not extra,
        sent=f"GET /{name}",
        got=answer.with_field("Content-Length") + followed(extra),
        expected=say("Content-Length: {count} and as many bytes", count=len(content)),
        cause=lambda: causes.of_wrong_length(httpd, answer, name),
    )


def followed(extra):
    return say(", followed by {data!r}", data=extra[:40]) if extra else ""


@rule("server")
@pytest.mark.parametrize("target", ["/page.html", "/no-such-file.html"])
def test_every_answer_names_its_server(httpd, target):
    answer = curl(httpd, target)
    check(
        answer.field("Server"),
        sent=f"GET {target}",
        got=answer.with_field("Server"),
        expected=say("a Server field, on errors too"),
        cause=lambda: causes.of_missing_field(answer, "Server"),
    )


HTTP_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


def seconds_of(field):
    """Return the seconds since the epoch that an HTTP-date stands for; None if it is none (RFC 9110 section 5.6.7)."""
    parsed = email.utils.parsedate(field) if HTTP_DATE.fullmatch(field) else None
    return calendar.timegm(parsed) if parsed else None


@rule("last-modified")
def test_last_modified_is_a_date_of_the_past(httpd, not_offered):
    answer = curl(httpd, "/page.html")
    field = answer.field("Last-Modified")
    if not field:
        not_offered("no Last-Modified")
    date = seconds_of(field)
    check(
        date is not None and date <= time.time() + 1,
        sent="GET /page.html",
        got=answer.with_field("Last-Modified"),
        expected=say("a time as 'Sun, 06 Nov 1994 08:49:37 GMT', of the past"),
    )


@rule("connection")
@pytest.mark.parametrize("target", ["/page.html", "/no-such-file.html"])
def test_connection_says_close_or_keep_alive(httpd, target):
    answer = curl(httpd, target)
    others = set(answer.connection) - {"close", "keep-alive", "upgrade"} - answer.fields.keys()
    both = {"close", "keep-alive"} <= set(answer.connection)
    check(
        answer.status is not None and ("connection" not in answer.fields or not (others or both)),
        sent=f"GET {target}",
        got=answer.with_field("Connection"),
        expected=say("'Connection: close' or 'Connection: keep-alive', or no such field"),
    )


# Methods


@rule("head")
def test_head_has_the_content_length_of_get(httpd):
    answer = curl(httpd, "/page.html", "--head")
    size = len(FILES["page.html"])
    check(
        answer.status == 200 and answer.field("Content-Length") == str(size),
        sent="HEAD /page.html",
        got=answer.with_field("Content-Length"),
        expected=say("200 with Content-Length: {count}, as for GET", count=size),
        cause=lambda: causes.of_refused_method(httpd, answer) or causes.of_wrong_body(httpd, curl(httpd, PAGE)),
    )


@rule("methods")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_method_without_a_handler_is_405(httpd, method):
    answer = curl(httpd, "/page.html", "--request", method, *(["--data", "some=body"] if method == "PUT" else []))
    check(
        answer.status == 405,
        sent=f"{method} /page.html",
        got=answer,
        expected="405 Method Not Allowed",
        cause=lambda: causes.of_refused_method(httpd, answer),
    )


@rule("post")
def test_post_to_a_file_is_405_or_400(httpd):
    answer = curl(httpd, "/page.html", "--data", "some=body")
    check(
        answer.status in (405, 400),
        sent=say("{sent} with a body of 9 bytes", sent="POST /page.html"),
        got=answer,
        expected=say("405 or 400: a file takes nothing"),
        cause=lambda: causes.of_refused_method(httpd, answer),
    )


# Bytes


@rule("bytes")
@pytest.mark.parametrize("name", IMAGES)
def test_image_arrives_byte_for_byte(httpd, name):
    answer = curl(httpd, f"/{name}")
    check(
        answer.status == 200 and answer.body == FILES[name],
        sent=f"GET /{name}",
        got=answer if answer.body != FILES[name] else answer.status_line,
        expected=say("200 and the {count} bytes of the file unchanged, whatever their values", count=len(FILES[name])),
        cause=lambda: causes.of_changed_bytes(httpd, answer.body, FILES[name]),
    )


@rule("large")
def test_large_file_arrives_whole_and_byte_for_byte(httpd):
    answer = curl(httpd, f"/{LARGE}")
    check(
        answer.body == FILES[LARGE],
        sent=say(
            "{sent} ({count:,} bytes, more than the socket buffers hold)", sent=f"GET /{LARGE}", count=len(FILES[LARGE])
        ),
        got=f"{answer}, {causes.first_difference(answer.body, FILES[LARGE])}",
        expected=say("every byte of the file, once and in order"),
        cause=lambda: causes.of_wrong_large_file(httpd, answer, answer.body),
    )


@rule("first-byte")
def test_first_byte_of_a_large_file_leaves_before_all_is_read(httpd):
    begun, seconds, read = causes.first_byte(httpd, LARGE)
    size = len(FILES[LARGE])
    known = say(", when the server had read {count:,} bytes", count=read) if read else ""
    if begun:
        came = say("its first byte after {seconds:.2f} s", seconds=seconds)
    else:
        came = say("no byte of it after {seconds:.2f} s", seconds=seconds)
    check(
        begun and seconds < 2 and (read is None or read < size),
        sent=say("{sent} ({count:,} bytes), and read no more than the first bytes", sent=f"GET /{LARGE}", count=size),
        got=came + known,
        expected=say("the first byte at once, and the rest read as the client takes it"),
        cause=lambda: causes.of_late_first_byte(httpd, read if begun else None),
    )


@rule("date")
@pytest.mark.parametrize("target", ["/page.html", "/no-such-file.html"])
def test_every_answer_has_the_date_of_now(httpd, target):
    wait_until(lambda: httpd.age() > 3, 3)  # then a date made at the start is wrong
    earliest = time.time() - 2.5  # a date is whole seconds, and may be kept for one more (as by lighttpd)
    answer = curl(httpd, target)
    field = answer.field("Date")
    date = seconds_of(field)
    check(
        date is not None and earliest <= date <= time.time(),
        sent=say("{sent} at {time}", sent=f"GET {target}", time=email.utils.formatdate(usegmt=True)),
        got=answer.with_field("Date"),
        expected=say("the time of now as 'Sun, 06 Nov 1994 08:49:37 GMT'"),
        cause=lambda: causes.of_missing_field(answer, "Date") or causes.of_wrong_date(httpd, field, date),
    )

"""The files of a document root, as curl and the requests library get them."""

import email.utils
import mimetypes
import re
import time

import pytest

from .clients import ask, check, curl
from .site import FILES, IMAGES, LARGE, SECRET

CHECKED = "handout, 'How it is checked'"
WRONG = "handout, 'What is wrong in the handout's own code'"


def check_served(server, target, name, *, rule, cause=""):
    """Check that *target* is answered with 200 and the content of the file *name*."""
    answer = curl(server, target)
    check(
        answer.status == 200 and answer.body == FILES[name] and not answer.note,
        sent=f"GET {target}",
        got=answer,
        expected=f"200 and the {len(FILES[name])} bytes of the file {name!r}",
        rule=f"{CHECKED}: {rule}",
        cause=answer.likely_cause or cause,
    )


def check_status(server, target, status, *, rule, cause=""):
    answer = curl(server, target)
    check(
        answer.status == status,
        sent=f"GET {target}",
        got=answer,
        expected=str(status),
        rule=f"{CHECKED}: {rule}",
        cause=answer.likely_cause or cause,
    )


def check_refused(server, target, *, rule, cause):
    """Check that *target* neither gives away a file outside the root nor goes without an answer."""
    answer = curl(server, target)
    leaked = SECRET.strip() in answer.body
    check(
        not leaked and answer.status in (400, 403, 404),
        sent=f"GET {target}",
        got=f"{answer}: a file outside the root" if leaked else answer,
        expected="404 (400 and 403 pass too)",
        rule=rule,
        cause=cause if leaked else "",
    )


def test_file_is_served(httpd):
    check_served(httpd, "/page.html", "page.html", rule="the simplest case of all")


def test_folder_is_answered_with_its_index_html(httpd):
    check_served(httpd, "/dir/", "dir/index.html", rule="index.html for a folder")


def test_root_is_answered_with_its_index_html(httpd):
    check_served(httpd, "/", "index.html", rule="index.html for a folder")


def test_folder_without_index_html_is_404(httpd):
    check_status(httpd, "/no-index/", 404, rule="404 for a folder without one (no listing)")


def test_missing_file_is_404(httpd):
    check_status(httpd, "/no-such-file.html", 404, rule="404; also responses = {..., 404: ...} in Part 1")


def test_file_in_nested_folders_is_served(httpd):
    check_served(httpd, "/dir1/dir12/dir123/deep.txt", "dir1/dir12/dir123/deep.txt", rule="nested folders")


def test_empty_file_is_200_with_length_0(httpd):
    answer = curl(httpd, "/empty.txt")
    only_here = answer.status == 200 and curl(httpd, "/page.html").field("Content-Length")
    check(
        answer.status == 200 and answer.field("Content-Length") == "0" and not answer.note,
        sent="GET /empty.txt (a file of 0 bytes)",
        got=f"{answer}, Content-Length {answer.field('Content-Length')!r}",
        expected="200 with Content-Length: 0",
        rule=f"{CHECKED}: Content-Length; RFC 9110 section 8.6",
        cause=answer.likely_cause or ("`if length:` or `if body:` where `is not None` was meant" if only_here else ""),
    )


# Names and escapes


def test_name_with_spaces_is_served(httpd):
    check_served(
        httpd,
        "/space%20in%20name.txt",
        "space in name.txt",
        rule="names with spaces and percent-escapes",
        cause="the path is not percent-decoded (urllib.parse.unquote), or cut at the space that decoding made",
    )


def test_escaped_letters_are_decoded(httpd):
    check_served(
        httpd,
        "/%70age.html",
        "page.html",
        rule="names with spaces and percent-escapes",
        cause="the path is not percent-decoded (urllib.parse.unquote)",
    )


def test_escaped_letters_outside_ascii_are_decoded(httpd):
    name = "na\u00efve \u043f\u0440\u0438\u0432\u0435\u0442.txt"
    target = "/na%C3%AFve%20%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82.txt"
    check_served(httpd, target, name, rule="names with percent-escapes; the bytes are UTF-8, RFC 3986 section 2.5")


def test_escapes_are_decoded_only_once(httpd):
    check_served(
        httpd,
        "/%2541.txt",
        "%41.txt",
        rule="percent-escapes; %25 is a percent sign and must not be decoded again, RFC 3986 section 2.4",
        cause="decoded twice: unquote() runs on what unquote() has already returned",
    )


@pytest.mark.parametrize("query", ["arg1=value&arg2=value", "next=/dir/&q=%2F", ""])
def test_query_after_the_path_is_ignored(httpd, query):
    check_served(
        httpd,
        f"/page.html?{query}",
        "page.html",
        rule="a query after the path",
        cause="the query is taken for a part of the file's name; cut the target at its first '?' before decoding",
    )


def test_slash_after_a_file_name_is_404(httpd):
    check_status(
        httpd,
        "/page.html/",
        404,
        rule="a slash after a file's name",
        cause="normalising the path (os.path.normpath, strip('/')) has removed the slash",
    )


CUT_DOTS = "'..' or '/.' is replaced anywhere in the text; only whole segments '.' and '..' mean anything"


@pytest.mark.parametrize("name", ["text..txt", ".well-known/x.txt"])
def test_dots_inside_a_name_are_kept(httpd, name):
    check_served(
        httpd,
        f"/{name}",
        name,
        rule=f"dots inside names; also {WRONG}: url_normalize strips every '/.'",
        cause=CUT_DOTS,
    )


def test_dot_before_a_name_is_not_stripped(httpd):
    """A server may keep such files to itself, but must not take them for others."""
    name = "dir/.hidden.txt"
    answer = curl(httpd, f"/{name}")
    check(
        answer.status in (403, 404) or (answer.status == 200 and answer.body == FILES[name]),
        sent=f"GET /{name}",
        got=f"{answer}: {answer.body[:60]!r}",
        expected=f"200 with the file {name!r} (or 404, if hidden files are not served)",
        rule=f"{CHECKED}: dots inside names; also {WRONG}: url_normalize makes /ab of /a/.b",
        cause=CUT_DOTS if answer.status == 200 else "",
    )


# Outside the root


def test_dotdot_cannot_leave_the_root(httpd):
    check_refused(
        httpd,
        "/dir/../../secret.txt",
        rule=f"{CHECKED}: '..' that tries to leave the root",
        cause="the path is joined to the root and never compared with it afterwards",
    )


@pytest.mark.parametrize("target", ["/%2e%2e/secret.txt", "/..%2fsecret.txt", "/dir/%2E./.%2e/secret.txt"])
def test_escaped_dotdot_cannot_leave_the_root(httpd, target):
    check_refused(
        httpd,
        target,
        rule=f"{CHECKED}: '..' that tries to leave the root; {WRONG}: url_normalize runs before percent-decoding",
        cause="decoded too late: first decode, then normalise, then compare with the root",
    )


def test_doubly_escaped_dotdot_cannot_leave_the_root(httpd):
    check_refused(
        httpd,
        "/%252e%252e/secret.txt",
        rule=f"{CHECKED}: '..' that tries to leave the root",
        cause="decoded twice: the second unquote() makes '..' after the check",
    )


def test_sibling_folder_with_the_same_beginning_is_not_served(httpd):
    check_refused(
        httpd,
        "/../www-secret/secret.txt",
        rule=f"{CHECKED}: '..' that tries to leave the root",
        cause="path.startswith(root) is also true for the folder 'www-secret' beside 'www'; compare with root + '/'",
    )


def test_absolute_path_after_two_slashes_is_not_served(httpd, site):
    check_refused(
        httpd,
        f"/{site.parent}/secret.txt",
        rule=f"{CHECKED}: nothing outside the root; two slashes do not make an absolute path",
        cause="os.path.join(root, path) forgets the root when path begins with '/'",
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
}
# An autograder compares these whole; for the others a charset may follow.
EXACT = {"types/page.html", "types/film.swf"}


@pytest.mark.parametrize("name", TYPES)
def test_content_type_follows_the_file_name(httpd, name):
    answer = ask(httpd, "GET", f"/{name}")
    field = answer.field("Content-Type")
    value = field if name in EXACT else field.partition(";")[0].strip()
    check(
        answer.status == 200 and value in TYPES[name],
        sent=f"GET /{name}",
        got=f"{answer} with Content-Type {field!r}",
        expected=f"200 with Content-Type {' or '.join(TYPES[name])}",
        rule=f"{CHECKED}: Content-Type of html/css/js/jpg/jpeg/png/gif/swf/txt",
        cause="mimetypes.guess_type() asks the system's tables, which differ from host to host"
        if field and field == mimetypes.guess_type(name)[0]
        else "",
    )


def test_content_length_is_the_size_of_the_file(httpd):
    answer = curl(httpd, "/page.html")
    field, size = answer.field("Content-Length"), len(FILES["page.html"])
    check(
        field == str(size),
        sent="GET /page.html",
        got=f"{answer} with Content-Length {field!r}" if field else f"{answer} with no Content-Length",
        expected=f"Content-Length: {size}, as the client cannot know otherwise where the answer ends",
        rule=f"{CHECKED}: Content-Length; RFC 9110 section 8.6",
        cause=""
        if field or not answer.status
        else "no Content-Length: send_header('Content-Length', ...) is missing, or comes after end_headers()",
    )


@pytest.mark.parametrize("target", ["/page.html", "/no-such-file.html"])
def test_every_answer_names_its_server(httpd, target):
    answer = curl(httpd, target)
    check(
        answer.field("Server"),
        sent=f"GET {target}",
        got=f"{answer} with no Server field",
        expected="a Server field, on errors too",
        rule=f"{CHECKED}: Server and Date",
    )


@pytest.mark.parametrize("target", ["/page.html", "/no-such-file.html"])
def test_every_answer_has_the_date_of_now(httpd, target):
    answer = curl(httpd, target)
    field = answer.field("Date")
    right_form = re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", field)
    skew = abs(email.utils.parsedate_to_datetime(field).timestamp() - time.time()) if right_form else None
    check(
        skew is not None and skew < 60,
        sent=f"GET {target}",
        got=f"{answer} with Date {field!r}" if field else f"{answer} with no Date",
        expected="the time of now as 'Sun, 06 Nov 1994 08:49:37 GMT'",
        rule=f"{CHECKED}: Server and Date; RFC 9110 section 5.6.7",
        cause="local time instead of GMT (use time.gmtime or email.utils.formatdate(usegmt=True))" if skew else "",
    )


# Methods


def test_head_has_the_content_length_of_get(httpd):
    answer = curl(httpd, "/page.html", "--head")
    size = len(FILES["page.html"])
    check(
        answer.status == 200 and answer.field("Content-Length") == str(size),
        sent="HEAD /page.html",
        got=f"{answer} with Content-Length {answer.field('Content-Length')!r}",
        expected=f"200 with Content-Length: {size}, as for GET",
        rule=f"{CHECKED}: HEAD; RFC 9110 section 9.3.2",
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_method_without_a_handler_is_405(httpd, method):
    answer = ask(httpd, method, "/page.html", data=b"some=body" if method != "DELETE" else None)
    check(
        answer.status == 405,
        sent=f"{method} /page.html",
        got=answer,
        expected="405 Method Not Allowed",
        rule=f"{CHECKED}: 405 for a method there is no handler for",
        cause="an AttributeError for a missing do_* method; ask hasattr(self, 'do_' + method) first"
        if answer.status in (None, 500) and serves(httpd)
        else "",
    )


def serves(server):
    """Return whether *server* answers an ordinary request, so that silence on another one tells something about it."""
    return curl(server, "/page.html").status == 200


# Bytes


@pytest.mark.parametrize("name", IMAGES)
def test_image_arrives_byte_for_byte(httpd, name):
    answer = curl(httpd, f"/{name}")
    check(
        answer.status == 200 and answer.body == FILES[name],
        sent=f"GET /{name}",
        got=answer if answer.body != FILES[name] else answer.status_line,
        expected=f"200 and the {len(FILES[name])} bytes of the file unchanged (every byte value, CR LF and LF)",
        rule=f"{CHECKED}: Content-Type of images; a large file byte for byte",
        cause=cause_of_changed_bytes(answer.body, FILES[name]) if answer.body or serves(httpd) else "",
    )


def cause_of_changed_bytes(received, content):
    text_mode = "text mode: the file is opened without 'b', so its bytes are decoded; use open(path, 'rb')"
    if not received:
        return f"{text_mode} (then the server's output has a UnicodeDecodeError)"
    one_kind_of_line_end = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if one_kind_of_line_end.startswith(received[: len(received) // 2]):
        return text_mode
    undecodable, latin_1_as_utf_8 = b"\xef\xbf\xbd", b"\xc3\xbf\xc3"
    return text_mode if undecodable in received or latin_1_as_utf_8 in received else ""


def test_large_file_arrives_whole_and_byte_for_byte(httpd):
    answer = curl(httpd, f"/{LARGE}")
    check(
        answer.body == FILES[LARGE],
        sent=f"GET /{LARGE} ({len(FILES[LARGE]):,} bytes, more than the socket buffers hold)",
        got=f"{answer}, {first_difference(answer.body, FILES[LARGE])}",
        expected="every byte of the file, once and in order",
        rule=f"{CHECKED}: a large file whole and byte for byte",
        cause=cause_of_wrong_large_file(answer.body, FILES[LARGE]),
    )


def same_bytes(received, content):
    """Return how many bytes both have in common from the start; they are many MiB, so halve instead of stepping."""
    same, differs = 0, min(len(received), len(content)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        same, differs = (middle, differs) if received[:middle] == content[:middle] else (same, middle)
    return same


def first_difference(received, content):
    same = same_bytes(received, content)
    if same == min(len(received), len(content)):
        return f"right up to byte {same:,}, where it ends" if len(received) <= len(content) else "followed by more"
    return f"wrong from byte {same:,} on"


def cause_of_wrong_large_file(received, content):
    if not received or received == content:
        return ""
    if content.startswith(received):
        return "one send() was short (it returns how many bytes it took) and the rest was never sent"
    if not received.startswith(content[:1000]):
        return cause_of_changed_bytes(received, content)
    if is_repeated(received, content):
        return "after a short send() the whole piece was sent again, not the rest: data = data[sent:]"
    return "one send() was short (it returns how many bytes it took), and not exactly the rest was sent next"


def is_repeated(received, content):
    """Return whether *received* goes back to what it had before, where it leaves *content*."""
    same = same_bytes(received, content)
    again = received[same : same + 32]
    return again.startswith(b"HTTP/1.") or 0 <= content.find(again) < same  # the head may have been part of the piece

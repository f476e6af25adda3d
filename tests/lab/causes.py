"""Looking for the mistake behind a failed check. A cause is named only if the answer shows it by itself, or a second
request that differs in that one point confirms it; each function returns its key in messages.py, or None.
"""

import functools
import time

from .clients import Connection, Named, curl, exchange, request
from .messages import say
from .patience import seconds_used
from .server import CLOSE_WAIT, TIME_ZONE_OFFSET, sockets_in_state, wait_until
from .site import FILES, LARGE, QUARTER, SECRET, SIXTEENTH

PAGE = FILES["page.html"]


def is_page(answer):
    return answer.status == 200 and answer.body == PAGE


def is_served(server, answer, target):
    """Return whether *answer* is what a client with a connection of its own gets for *target*."""
    return answer.status == 200 and not answer.note and answer.body == curl(server, target).body


def serves(server):
    """Return whether *server* answers an ordinary request, so that silence on another one tells something about it."""
    if server.exception():  # so the request before may have ended it
        wait_until(lambda: server.process.poll() is not None, 0.3)
    server.running()
    answer = curl(server, "/page.html")
    return answer.status == 200 and not answer.note


def raised(server, *names):
    """Return whether the last exception printed during this check is one of *names*."""
    wait_until(lambda: server.exception() is not None, 1)
    exception = server.exception()
    return exception is not None and exception.name in names


# Lengths


def of_wrong_body(server, answer):
    """Why *answer* has status 200 and not the body it should have."""
    if answer.status != 200:
        return None
    if answer.body.startswith((b"b'", b'b"')):
        return "repr-of-bytes"
    return of_missing_length(server, answer) or of_bytes_after(server)


def of_missing_length(server, answer):
    """Why no length shows the end of *answer*."""
    if answer.status is None or answer.has_length:
        return None
    return "keep-alive-without-length" if waits_without_length(server) else "no-length"


@functools.cache
def waits_without_length(server):
    """Return whether a client waits for the end of an answer without a length, unless it asks for that end."""
    if not exchange(server, idle=1.0).waited:
        return False
    closing = exchange(server, "/page.html", "Connection: close")
    return closing.status is not None and not closing.note


def of_bytes_after(server):
    """Why more than the body arrives: two files of different size are followed by the same bytes."""
    after = {bytes_after(server, name) for name in ("page.html", "dir/index.html")}
    return "bytes-after-body" if len(after) == 1 and after != {b""} else None


def bytes_after(server, name):
    """Return what *server* sends after the content of the file *name*."""
    with Connection(server) as client:
        client.send(request(f"/{name}", "Connection: close"))
        received = client.read().body + client.rest()
    return received[len(FILES[name]) :] if received.startswith(FILES[name]) else b""


def of_wrong_length(server, answer, name):
    """Why Content-Length is not the size of the file *name*, or more than its content arrives."""
    content, length = FILES[name], answer.field("Content-Length")
    if length.isdecimal() and int(length) == len(content.decode()) != len(content):
        return "length-in-characters"
    if answer.body.startswith((b"b'", b'b"')):
        return "repr-of-bytes"
    return of_bytes_after(server) or of_missing_length(server, answer)


def of_empty_file(server, answer):
    """Why an empty file is not 200 with a length of 0."""
    if answer.status != 200 or answer.field("Content-Length"):
        return of_wrong_body(server, answer)
    page = curl(server, "/page.html")
    return "empty-is-false" if page.field("Content-Length") else of_missing_length(server, page)


# From the target to the file


def of_escapes(server, answer):
    """Why an escaped name is not served."""
    if answer.body == FILES["space"]:
        return "cut-at-space"
    if curl(server, "/%41.txt").body == FILES["%41.txt"]:
        return "never-decodes"
    if curl(server, "/%2541.txt").body == FILES["A.txt"]:
        return "decodes-twice"
    return None


def of_query(server, answer):
    return "query-in-name" if answer.status in (None, 404) and serves(server) else None


def of_slash(server, answer):
    """Why /page.html/ is not 404."""
    if is_page(answer):
        return "slash-lost"
    if answer.status == 500 or not answer.status_line:
        without, missing = curl(server, "/page.html"), curl(server, "/no-such-file/")
        return "slash-raises" if is_page(without) and missing.status == 404 else None
    return None


def of_dots(server, answer, name):
    """Why a name with dots inside is not served."""
    if answer.status == 200 and answer.body in (FILES["texttxt"], FILES["well-known/x.txt"], FILES["dirhidden.txt"]):
        return "dots-cut"
    if answer.status == 200 and answer.body == FILES["dir/hidden.txt"]:
        return "dots-cut"
    if ".." in name and answer.status in (400, 403, 404) and curl(server, "/text.txt").status == 200:
        return "dots-refused"
    return None


def leaks(server, target):
    return SECRET.strip() in curl(server, target).body


def of_leak(server, kind):
    """Why a file outside the root was served, by a path of this *kind*: the plainest hole explains the others."""
    if kind == "join":
        return "root-join"
    if leaks(server, "/dir/../../secret.txt") or leaks(server, "/../secret.txt"):
        return "root-unchecked"
    if kind == "escaped":
        return "decodes-too-late"
    if kind == "sibling":
        return "root-startswith"
    return "decodes-twice" if curl(server, "/%2541.txt").body == FILES["A.txt"] else None


def of_no_answer_to_dots(server, answer):
    """Why an odd path has got no answer."""
    if answer.status is not None or not server.is_computing():
        return None
    server.restart()
    return "normalize-hangs" if serves(server) else None


# Dates


def of_wrong_date(server, field, date):
    """Why *field*, which stands for *date* (seconds since the epoch, None if for nothing), is not the time of now."""
    if date is None:
        return None
    if abs(date - TIME_ZONE_OFFSET - time.time()) < 3:
        return "date-local"
    time.sleep(1.1)  # a date that moves has moved by then
    return "date-stands" if curl(server, "/page.html").field("Date") == field else None


# Methods


def of_body_on_head(server, body):
    """Why HEAD is not answered with a head alone."""
    if body.strip() and body.strip() in PAGE:
        return "body-on-head"
    return of_bytes_after(server)


def of_refused_method(server, answer):
    """Why a method is neither answered nor refused with 405."""
    if answer.status not in (None, 500):
        return None
    return "missing-handler" if raised(server, "AttributeError") and "do_" in server.exception().message else None


def of_malformed(server, answer):
    if answer.status != 500 and answer.status_line:
        return None
    return "unpacks-blindly" if raised(server, "ValueError", "IndexError") and serves(server) else None


def of_missing_field(answer, field):
    """Why a field that every answer has is not there."""
    return Named("missing-field", {"field": field}) if answer.status is not None and not answer.field(field) else None


# Bytes


def of_changed_bytes(server, received, content):
    """Why an image arrives changed, or not at all."""
    if received.startswith((b"b'", b'b"')):
        return "repr-of-bytes"
    if received == content:
        return None
    if curl(server, "/text.txt").body != FILES["text.txt"]:
        return None
    if not received:
        return "text-mode" if raised(server, "UnicodeDecodeError") else None
    one_kind_of_line_end = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if one_kind_of_line_end.startswith(received[: len(received) // 2]):
        return "text-mode"
    undecodable, latin_1_as_utf_8 = b"\xef\xbf\xbd", b"\xc3\xbf\xc3"
    return "text-mode" if undecodable in received or latin_1_as_utf_8 in received else None


def same_bytes(received, content):
    """Return how many bytes both have in common from the start; they are many MiB, so halve instead of stepping."""
    same, differs = 0, min(len(received), len(content)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        same, differs = (middle, differs) if received[:middle] == content[:middle] else (same, middle)
    return same


def first_difference(received, content):
    if received == content:
        return say("as the file is")
    same = same_bytes(received, content)
    if same == min(len(received), len(content)):
        cut = len(received) <= len(content)
        return say("right up to byte {count:,}, where it ends", count=same) if cut else say("followed by more")
    return say("wrong from byte {count:,} on", count=same)


def of_wrong_large_file(server, answer, received):
    """Why the large file does not arrive as it is."""
    content = FILES[LARGE]
    if not received:
        return of_late_first_byte(server, None)
    if received == content:
        return of_missing_length(server, answer)
    if received.startswith(content):
        return of_bytes_after(server)
    if content.startswith(received):
        return of_cut_file(server, answer, received)
    if not received.startswith(content[:1000]):
        return of_changed_bytes(server, received, content)
    return "sends-again" if is_repeated(received, content) else None


def of_cut_file(server, answer, received):
    promised = answer.field("Content-Length")
    if promised == str(len(received)):
        quarter = curl(server, f"/{QUARTER}")
        return "reads-first-part" if len(quarter.body) == len(received) < len(FILES[QUARTER]) else None
    if promised in ("", str(len(FILES[LARGE]))) and not (answer.waited and server.is_computing()):
        return "short-send" if serves(server) else None
    return None


def is_repeated(received, content):
    """Return whether *received* goes back to what it had before, where it leaves *content*."""
    same = same_bytes(received, content)
    again = received[same : same + 32]
    return again.startswith(b"HTTP/1.") or 0 <= content.find(again) < same  # the head may have been part of the piece


def first_byte(server, name, **limits):
    """Ask for *name* and read no more than the first bytes of its content.

    Return whether they came, the seconds until then, and what the server had read by then (None where nobody tells).
    """
    before, start = server.bytes_read(), time.monotonic()
    begun = b""
    with Connection(server, receive_buffer=4096) as client:
        client.send(request(f"/{name}", "Connection: close"))
        patience = server.patience(**limits)
        while not begun and client.receive(patience):
            begun = client.received.partition(b"\r\n\r\n")[2]
        seconds, after = time.monotonic() - start, server.bytes_read()
    return bool(begun), seconds, None if None in (before, after) else after - before


def of_late_first_byte(server, read):
    """Why the large file's first byte came late, when the server had *read* so many bytes (None where nobody tells)."""
    if is_quadratic(server):
        return "quadratic"
    if read is None:
        return of_changed_bytes(server, b"", FILES[LARGE])
    return "reads-whole-file" if read >= len(FILES[LARGE]) else None


@functools.cache
def is_quadratic(server):
    """Return whether four times the bytes cost far more than four times the processor time."""
    quarter, sixteenth = (processor_time(server, name) for name in (QUARTER, SIXTEENTH))
    return quarter > 0.15 and quarter > 8 * sixteenth


def processor_time(server, name):
    """Return the seconds of processor time until the first byte of *name*: they do not depend on what else runs."""
    server.restart()  # it may still be busy with what was asked before
    before = server.processes()
    first_byte(server, name, work=6.0)
    return sum(seconds_used(server.processes(), before))


# Connections


def of_second_answer(server, first, second):
    """Why the second request on one connection is not answered, although the first answer has promised it."""
    if key := of_bytes_after(server) or of_missing_length(server, first):
        return key
    with Connection(server) as client:
        client.send(request())
        client.read()
        if client.ends():
            return "promises-keep-alive"
    alone = exchange(server, "/dir/")
    return "fails-at-second-request" if alone.status == 200 and second.status is None else None


def of_kept_connection(server, *fields, version="HTTP/1.1"):
    """Why the connection stays open after a whole answer, although the client has asked for its end."""
    with Connection(server) as client:
        client.send(request("/page.html", *fields, version=version))
        client.read()
    wait_until(lambda: sockets_in_state(server.port, CLOSE_WAIT) == 0, 0.5)
    left = sockets_in_state(server.port, CLOSE_WAIT)
    if left is None:
        return None
    return "handle-close" if left else "close-ignored"


def of_ignored_spelling(server):
    """Why 'CONNECTION: Close' does not end the connection."""
    with Connection(server) as client:
        client.send(request("/page.html", "Connection: close"))
        client.read()
        respected = client.ends()
    return "header-case" if respected else of_kept_connection(server, "Connection: close")


def of_pipelining(server, first, second):
    """Why two requests in one packet are not answered as two one after the other are."""
    if first.note:
        return of_second_answer(server, first, second)
    targets, pages = ("/page.html", "/dir/"), []
    with Connection(server) as client:
        for target in targets:
            client.send(request(target))
            pages.append(client.read())
    if not all(is_served(server, page, target) for page, target in zip(pages, targets, strict=True)):
        return of_second_answer(server, first, second)
    if first.status == 200 and not second.data:
        return "pipelined-lost"
    swapped = first.body == pages[1].body or second.body == pages[0].body
    return "pipelined-mixed" if swapped else None


def of_split_request(server, target):
    """Why a request in several packets is not answered."""
    server.running()
    return "one-recv" if exchange(server, target, "Connection: close").status == 200 else None


# Clients that behave badly


def of_harm_by_leaving(server, processes):
    """Why nobody is served after clients have left; there were so many *processes* before."""
    if server.is_computing():
        return of_late_first_byte(server, None)
    fewer = len(server.processes()) < processes
    return "ends-when-clients-leave" if fewer or not server.accepts() else None


def of_waiting(server, kind, computing=False):
    """Why a client had to wait for others, who have left by now: *kind*, if they were what it waited for.

    computing -- whether the server was at work meanwhile: then it is slow, and does not wait
    """
    if computing:
        return of_late_first_byte(server, None)
    return kind if serves(server) else None


def of_failed_load(server):
    """Why ab, which speaks HTTP/1.0 and asks for keep-alive with -k, sees failed requests."""
    ended = server.process.poll() is not None
    server.restart()  # what the hundred clients have left behind is not asked about
    if not serves(server):
        return "fails-alone"
    if ended:
        return "ends-when-clients-leave"
    with Connection(server) as client:
        client.send(request(version="HTTP/1.0"))
        client.read()
        kept = not client.ends()
    if kept:
        return of_kept_connection(server, version="HTTP/1.0")
    with Connection(server) as client:
        client.send(request("/page.html", "Connection: keep-alive", version="HTTP/1.0"))
        answer = client.read()
        if "keep-alive" in answer.connection and client.ends():
            return "promises-keep-alive"
    return of_missing_length(server, answer) or of_bytes_after(server)

"""HTTP/1.1 message syntax and framing (RFC 9112): bytes in, values out.

Nothing here reads a socket or depends on what came before, so you can try every rule in a Python shell:

>>> parse_head(b"GET /a?b HTTP/1.1\\r\\nHost: example.org")
('GET', '/a?b', 'HTTP/1.1', {'host': 'example.org'})

Patterns in ASCII decide, and must match the whole text. Python's own helpers accept too much: int() takes "+1_0",
str.strip() removes \\x85, str.splitlines() breaks at \\x0b, "$" matches before a final newline. Where two servers read
the same bytes differently, attackers smuggle requests past one of them. So what is not exactly right is refused.
`docs/rfc.md` lists the sections of the RFC, and where we are stricter.

Not here: what a method means, when to answer, anything about connections (httpd.py); dates, entity tags
and ranges (conditional.py).
"""

import functools
import re
import socket

REQUEST_LINE_LIMIT = 8190  # bytes; above it 414
FIELD_LIMIT = 8190  # bytes of one field line; above it 431
FIELD_COUNT_LIMIT = 100  # fields of one head, or of one chunked body's trailers; above it 431
HEAD_LIMIT = 65536  # bytes of a head, and of a chunked body's trailers; above it 431
BLANK_LIMIT = 16  # bytes of empty lines skipped before a request line; above it 400
SHORT = 256  # characters; longer texts are not cached, or strangers could fill our memory with them
BLOCK_LIMIT = 2048  # bytes; longer blocks of field lines are not cached, for the same reason
LENGTH_DIGITS = 19  # digits of a Content-Length; more is 413 whatever the limit of the body

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Browsers, curl and urllib leave some bytes as they are although RFC 3986 wants them encoded: " < > [ ] ^ ` { | } and,
# a query, the backslash. In a path some of them take a backslash for a slash, so there we refuse it, as all the rest.
# "*+" takes all it can and gives nothing back. With "*", a target of 40 letters and one blank could be matched in 2**40
# ways before it is refused.
PATH = r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]^`{|}\"<>]++|%[0-9A-Fa-f]{2})*+"
QUERY = r"(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]^`{|}\"<>\\?%]*+)?"
REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++"  # an IPv4 address, too
IPV6 = r"\[[0-9A-Fa-f:.]++\]"  # its letters; whether it is an address is inet_pton's to say
IPV_FUTURE = r"\[[vV][0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++\]"
HOST = f"(?:{REG_NAME}|{IPV6}|{IPV_FUTURE})"

VERSION = re.compile(r"HTTP/([0-9])\.[0-9]")
ORIGIN_FORM = re.compile(PATH + QUERY)
ABSOLUTE_FORM = rf"[Hh][Tt][Tt][Pp][Ss]?://({HOST}(?::[0-9]*)?)((?:{PATH})?{QUERY})"  # rare: compiled when it comes
AUTHORITY_FORM = f"{HOST}:[0-9]+"
AUTHORITY = re.compile(f"(?:{REG_NAME}|({IPV6})|{IPV_FUTURE})(?::[0-9]*)?")
EMPTY_LINES = re.compile(rb"(?:\r?\n)*+")
FIELD_NAME = re.compile(TOKEN)
FIELD = re.compile(rf"{TOKEN}: [\t -~\x80-\xff]*")
CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])  # all but the tab

# What no head may contain. It is searched for in pieces of a head. asynchat never ends a piece between CR and LF, since
# it holds back what could be the start of the terminator CR LF CR LF.
BAD_OCTET = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")

# Fields that frame or address a message. Two of them could be read in two ways.
SINGLE_FIELDS = frozenset({"host", "content-length", "transfer-encoding", "content-type", "authorization"})
# Codings that exist but that we do not decode, with chunked as the last: 501 rather than 400 (RFC 9112 §6.1).
FOREIGN_CODINGS = re.compile(r"(?:(?:x-)?(?:gzip|compress|deflate)[ \t]*,[ \t]*)+chunked")
LENGTH = re.compile(r"[0-9]+")


class HTTPError(Exception):
    """A request that cannot be answered as asked.

    status -- the status code of the answer, such as 400
    reason -- what is wrong with the request, for the log
    fields -- more fields for the answer, such as {"Content-Range": "bytes */1000"}
    """

    def __init__(self, status: int, reason: str, fields: dict[str, str] | None = None):
        super().__init__(status, reason)
        self.status, self.reason, self.fields = status, reason, fields


class Fields(dict):
    """The header fields of one message: lower-case names -> values, both str (latin-1).

    Looked up in any case and, as with http.server's `headers`, a missing field is None. A field that came
    several times is one value, joined with ", " (RFC 9110 §5.3).

    >>> fields = Fields({"content-length": "3"})
    >>> fields["Content-Length"], fields["Range"], "CONTENT-LENGTH" in fields
    ('3', None, True)

    Read-only: requests that send the same lines share one object, and what is worked out from it:
    decided -- {version: what decide() returns}
    variables -- the variables of a WSGI environ, None until an application has asked (async_wsgi.py)
    """

    __slots__ = ("decided", "variables")

    def __init__(self, fields=()):
        dict.__init__(self, fields)
        self.decided, self.variables = {}, None

    def _refuse_change(self, *arguments):
        raise TypeError("the fields of a request are read-only")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse_change

    def __missing__(self, name: str):
        return dict.get(self, name.lower())

    exact = dict.get  # for a name that is lower-case already

    def get(self, name: str, default=None):
        return dict.get(self, name.lower(), default)

    def __contains__(self, name) -> bool:
        return dict.__contains__(self, name.lower())


def parse_head(head: bytes) -> tuple[str, str, str, Fields]:
    """Return (method, target, version, fields) of a request; *head* is all before the empty line that ends it.

    method -- in the case it came
    target -- origin-form ("/path?query", percent-encoded as it came), "*" or, for CONNECT, "host:port". An
              absolute-form is cut down to path and query, and its authority replaces the Host field
    version -- "HTTP/1.0", "HTTP/1.1" or a later minor version; compared as text they are in the right order

    Raise HTTPError 400, 414 (request line too long), 431 (fields too long or too many) or 505.
    """
    line, _, block = head.partition(b"\r\n")
    request_line = line.decode("latin-1")
    method, target, version, authority = (remembered_line if len(line) <= SHORT else parse_request_line)(request_line)
    fields = (remembered_block if len(block) <= BLOCK_LIMIT else parse_block)(block)
    if fields.exact("host") is None and version >= "HTTP/1.1":
        raise HTTPError(400, "HTTP/1.1 request without Host (RFC 9112 §3.2)")
    if authority is not None:
        fields = Fields({**fields, "host": authority})
    return method, target, version, fields


def parse_block(block: bytes) -> Fields:
    """Return the fields in *block*, lines without the last CR LF; raise HTTPError 400 or 431."""
    # Are there control characters besides line ends? Counting them takes a fifth of the time of a pattern.
    if len(block) - len(block.translate(None, CONTROLS)) != 2 * block.count(b"\r\n"):
        raise HTTPError(400, "control character or bare line break in a head")
    fields = parse_fields(block.decode("latin-1").split("\r\n") if block else [])
    host = fields.exact("host")
    if host and not (remembered_authority if len(host) <= SHORT else is_authority)(host):
        raise HTTPError(400, "malformed Host (RFC 9110 §7.2)")
    return fields


def parse_request_line(line: str) -> tuple[str, str, str, str | None]:
    """Return (method, target, version, authority); authority is None unless the target names a host (RFC 9112 §3).

    Raise HTTPError 400, 414, or 505 for another major version (RFC 9110 §2.5).
    """
    if len(line) > REQUEST_LINE_LIMIT:
        raise HTTPError(414, f"request line of more than {REQUEST_LINE_LIMIT} bytes")
    try:
        method, target, version = line.split(" ")
    except ValueError:
        raise HTTPError(400, "not three words in the request line") from None
    lower_token(method)
    match = VERSION.fullmatch(version)
    if match is None:
        raise HTTPError(400, "malformed HTTP version")
    if match[1] != "1":
        raise HTTPError(505, "HTTP version other than 1.x")
    target, authority = parse_target(method, target)
    return method, target, version, authority


def parse_target(method: str, target: str) -> tuple[str, str | None]:
    """Return (target, authority): what is asked for, and the host if the target names one, else None.

    Raise HTTPError 400 for a form that does not belong to the method (RFC 9112 §3.2).
    """
    if method == "CONNECT":
        if re.fullmatch(AUTHORITY_FORM, target) and is_authority(target):
            return target, target
    elif ORIGIN_FORM.fullmatch(target) or (target == "*" and method == "OPTIONS"):
        return target, None
    elif match := re.fullmatch(ABSOLUTE_FORM, target):
        authority, target = match.groups()
        if is_authority(authority):
            return target if target.startswith("/") else "/" + target, authority
    raise HTTPError(400, "malformed request target")


def is_authority(text: str) -> bool:
    """Tell whether *text* is a host with or without a port (RFC 3986 §3.2, without user information)."""
    match = AUTHORITY.fullmatch(text)
    if match is None or match[1] is None:
        return match is not None
    try:
        socket.inet_pton(socket.AF_INET6, match[1][1:-1])
    except OSError:
        return False
    return True


def percent_decoded(text: str) -> bytes:
    r"""Return *text* with the octets that are percent-encoded (RFC 3986 §2.1); what only looks like that stays.

    >>> percent_decoded("/caf%C3%A9")
    b'/caf\xc3\xa9'
    """
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())


def parse_fields(lines: list[str]) -> Fields:
    """Return the fields in *lines*, free of control characters; raise HTTPError 400 or 431 (RFC 9112 §5).

    >>> parse_fields(["Accept: text/html", "accept: */*"])
    {'accept': 'text/html, */*'}
    """
    if len(lines) > FIELD_COUNT_LIMIT:
        raise HTTPError(431, f"more than {FIELD_COUNT_LIMIT} fields")
    fields = {}
    for line in lines:
        if len(line) > FIELD_LIMIT:
            raise HTTPError(431, f"field of more than {FIELD_LIMIT} bytes")
        name, colon, value = line.partition(":")
        if not colon:
            raise HTTPError(400, "field line without a colon")
        name = remembered_token(name) if len(name) <= SHORT else lower_token(name)
        value = value.strip(" \t")
        if name in fields:
            if name in SINGLE_FIELDS:
                raise HTTPError(400, f"more than one {name}")
            value = fields[name] + ("; " if name == "cookie" else ", ") + value
        fields[name] = value
    return Fields(fields)


def lower_token(name: str) -> str:
    """Return *name*, a method's or a field's, lower-case; raise HTTPError 400 if it is no token (RFC 9110 §5.6.2)."""
    if not FIELD_NAME.fullmatch(name):
        raise HTTPError(400, "malformed name, or folded field line (RFC 9112 §5.2)")
    return name.lower()


def skip_empty_lines(data: bytes) -> bytes:
    """Return *data* without the empty lines (CR LF or LF) at its start; it must not end between CR and LF.

    Raise HTTPError 400 for a bare CR (RFC 9112 §2.2).

    >>> skip_empty_lines(b"\\r\\n\\nGET / HTTP/1.1")
    b'GET / HTTP/1.1'
    """
    rest = data[EMPTY_LINES.match(data).end() :]
    if rest.startswith(b"\r"):
        raise HTTPError(400, "bare CR before a request line")
    return rest


# Clients send the same few request lines, hosts and fields again and again. What is cached cannot be out of date: the
# same bytes always mean the same.
remembered_block = functools.lru_cache(maxsize=256)(parse_block)
remembered_line = functools.lru_cache(maxsize=256)(parse_request_line)
remembered_authority = functools.lru_cache(maxsize=256)(is_authority)
remembered_token = functools.lru_cache(maxsize=256)(lower_token)


def check_partial_head(piece: bytes) -> None:
    """Raise HTTPError 400 if *piece*, part of a head that is still coming in, cannot belong to one.

    Otherwise a request with bare line feeds, or a TLS hello, would get its answer only at the deadline.
    """
    if BAD_OCTET.search(piece):
        raise HTTPError(400, "control character or bare line break in a head")


def oversized_head(head: bytes) -> HTTPError:
    """Return what is wrong with a request whose head begins with *head* and is too long: 400, 414, 431 or 505."""
    request_line, _, rest = head.decode("latin-1").partition("\r\n")
    try:
        parse_request_line(request_line)
    except HTTPError as error:
        return error
    if rest.startswith((" ", "\t")) or "\r\n " in rest or "\r\n\t" in rest:
        return HTTPError(400, "folded field line (RFC 9112 §5.2)")
    return HTTPError(431, f"head of more than {HEAD_LIMIT} bytes")


def body_framing(version: str, fields: Fields) -> int | None:
    """Return the length of a request's body in bytes, or None if it is chunked (RFC 9112 §6.3).

    The one place that decides where a request ends. Raise HTTPError 400 when in doubt, 413 for a length
    beyond any limit, 501 for a transfer coding other than chunked.
    """
    coding, length = fields.exact("transfer-encoding"), fields.exact("content-length")
    if coding is not None:
        if length is not None:
            raise HTTPError(400, "both Transfer-Encoding and Content-Length")
        if version < "HTTP/1.1":
            raise HTTPError(400, "Transfer-Encoding in HTTP/1.0")
        if coding.lower() == "chunked":
            return None
        if FOREIGN_CODINGS.fullmatch(coding.lower()):
            raise HTTPError(501, "transfer coding other than chunked")
        raise HTTPError(400, "malformed Transfer-Encoding")
    if length is None:
        return 0
    if not LENGTH.fullmatch(length):
        raise HTTPError(400, "malformed Content-Length")
    if len(length) > LENGTH_DIGITS:
        raise HTTPError(413, f"Content-Length of more than {LENGTH_DIGITS} digits")
    return int(length)


def decide(version: str, fields: Fields) -> tuple[int | None, bool, bool]:
    """Return what body_framing(), keep_alive() and expects_continue() return, worked out once for the same *fields*."""
    decided = fields.decided.get(version)
    if decided is None:
        decided = body_framing(version, fields), keep_alive(version, fields), expects_continue(version, fields)
        fields.decided[version] = decided
    return decided


def keep_alive(version: str, fields: Fields) -> bool:
    """Tell whether the client wants the connection kept after the answer (RFC 9112 §9.3)."""
    connection = fields.exact("connection")
    if connection is None:
        return version >= "HTTP/1.1"
    options = [option.strip(" \t") for option in connection.lower().split(",")]
    return "close" not in options and (version >= "HTTP/1.1" or "keep-alive" in options)


def expects_continue(version: str, fields: Fields) -> bool:
    """Tell whether the client waits for 100 before it sends the body; raise HTTPError 417 (RFC 9110 §10.1.1)."""
    expect = fields.exact("expect")
    if expect is None or version < "HTTP/1.1":
        return False
    if expect.lower() != "100-continue":
        raise HTTPError(417, "expectation other than 100-continue")
    return True


def field_line(name: str, value: str) -> str:
    """Return "name: value" for a head; raise ValueError for what would break the head apart (RFC 9112 §5).

    >>> field_line("Location", "/a/")
    'Location: /a/'
    """
    line = f"{name}: {value}"
    if not FIELD.fullmatch(line) or ":" in name:  # a name with a colon would bring a value of its own
        raise ValueError(f"not a header field: {line!r}")
    return line

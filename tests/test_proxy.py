"""Who the client is behind proxies: tables, hostile text, and the real server."""

import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess

import pytest
import requests
from conftest import ROOT, python_command, running_servers, wait_until
from properties import given, st
from test_wsgi import TESTS

from asynchttpd.proxy import Hop, client_of

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
NOBODY = Hop("10.0.0.1", None, None)


def client(remote="10.0.0.1", trusted=PROXIES, **fields):
    return client_of(remote, {name.replace("_", "-"): value for name, value in fields.items()}, trusted)


@pytest.mark.parametrize(
    ("field", "node"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),  # what stands further left is that client's own claim
        ("1.1.1.1, 203.0.113.7, 10.2.2.2, 10.3.3.3", "203.0.113.7"),
        ("1.1.1.1,203.0.113.7\t,  10.2.2.2", "203.0.113.7"),
        ("10.9.9.9, 10.2.2.2", "10.9.9.9"),  # an internal client: all are trusted
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:DB8:0:0::7, fd00::1", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, ::ffff:10.2.2.2", "1.1.1.1"),
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("1.1.1.1, unknown", "10.0.0.1"),
        ("1.1.1.1, unknown, 10.2.2.2", "10.2.2.2"),
        ("1.1.1.1, 256.1.1.1", "10.0.0.1"),
        ("1.1.1.1, 010.1.1.1", "10.0.0.1"),
        ("1.1.1.1, 2.2.2.2;drop", "10.0.0.1"),
        ("localhost", "10.0.0.1"),
    ],
)
def test_x_forwarded_for(field, node):
    assert client(x_forwarded_for=field).node == node


@pytest.mark.parametrize(
    ("field", "hop"),
    [
        ("for=203.0.113.7", Hop("203.0.113.7", None, None)),
        ("for=1.1.1.1, for=203.0.113.7", Hop("203.0.113.7", None, None)),
        ("FOR=203.0.113.7;Proto=HTTPS;host=example.org", Hop("203.0.113.7", "https", "example.org")),
        ('for="[2001:db8::7]:4711";host="example.org:8080"', Hop("2001:db8::7", None, "example.org:8080")),
        ('for="203.0.113.7:80";by=10.0.0.1', Hop("203.0.113.7", None, None)),
        ("for=203.0.113.7;proto=https, for=10.2.2.2;proto=http", Hop("203.0.113.7", "https", None)),
        ("for=203.0.113.7;proto=gopher", Hop("203.0.113.7", None, None)),
        ("for=203.0.113.7, ", Hop("203.0.113.7", None, None)),
        ("proto=https;host=example.org", Hop("10.0.0.1", "https", "example.org")),  # it hides the address only
        ("for=_hidden;proto=https", Hop("10.0.0.1", "https", None)),
        ("for=1.1.1.1;proto=http, for=unknown;proto=https", Hop("10.0.0.1", "https", None)),
        # A client cannot swallow with an open quote what the proxy appends.
        ('for="1.1.1.1, for=203.0.113.7', Hop("203.0.113.7", None, None)),
        # Malformed: not believed in any part.
        ("for = 203.0.113.7", NOBODY),
        ("for=203.0.113.7;", NOBODY),
        ('for="203.0.113.7', NOBODY),
        ("203.0.113.7", NOBODY),
        ("for=203.0.113.7 proto=https", NOBODY),
    ],
)
def test_forwarded(field, hop):
    assert client(forwarded=field) == hop


@pytest.mark.parametrize(
    ("fields", "scheme", "host"),
    [
        ({"x_forwarded_proto": "https", "x_forwarded_host": "example.org"}, "https", "example.org"),
        ({"x_forwarded_proto": "HTTPS"}, "https", None),
        ({"x_forwarded_proto": "https, http"}, "http", None),  # the client's own, then the proxy's
        ({"x_forwarded_proto": "javascript"}, None, None),
        ({"x_forwarded_host": "a, b"}, None, "b"),
        ({"x_forwarded_for": "1.1.1.1, 10.2.2.2", "x_forwarded_proto": "https, http"}, "https", None),
        ({"x_forwarded_for": "1.1.1.1, 10.2.2.2", "x_forwarded_proto": "https"}, "https", None),
        ({"x_forwarded_for": "1.1.1.1, 2.2.2.2", "x_forwarded_proto": "https, http"}, "http", None),
    ],
)
def test_scheme_and_host(fields, scheme, host):
    found = client(**fields)
    assert (found.scheme, found.host) == (scheme, host)


def test_nobody_else_is_believed():
    fields = {"x_forwarded_for": "1.1.1.1", "x_forwarded_proto": "https", "x_forwarded_host": "evil"}
    assert client("203.0.113.9", **fields) == Hop("203.0.113.9", None, None)
    assert client("203.0.113.9", forwarded="for=1.1.1.1;proto=https;host=evil") == Hop("203.0.113.9", None, None)
    assert client(trusted=[], **fields) == NOBODY


def test_not_one_field_of_a_stranger_is_looked_at():
    """They may be long: whoever is not trusted must not be able to make us parse them."""

    class Unread(dict):
        def __contains__(self, name):
            raise AssertionError(f"{name} was looked for")

        get = __getitem__ = __contains__

    assert client_of("203.0.113.9", Unread(forwarded="for=1.1.1.1"), PROXIES) == Hop("203.0.113.9", None, None)


def test_forwarded_that_a_client_slips_past_a_proxy_with_x_forwarded_for_is_not_believed():
    """Most proxies set X-Forwarded-For and hand on a Forwarded that they do not know."""
    fields = {"forwarded": "for=1.1.1.1;proto=https;host=evil", "x_forwarded_for": "203.0.113.7"}
    assert client(**fields) == Hop("203.0.113.7", None, None)


def test_peer_without_an_address_is_not_a_proxy():
    assert client("", x_forwarded_for="1.1.1.1").node == ""


addresses = st.ip_addresses().map(str)
texts = st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=60)
lists = st.lists(addresses).map(", ".join) | st.lists(addresses.map("for={}".format)).map(",".join)
names = st.sampled_from(["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"])
fields = st.dictionaries(names, texts | lists)


@given(fields)
def test_any_text_gives_an_address_and_a_scheme(fields):
    found = client_of("10.0.0.1", fields, PROXIES)
    ipaddress.ip_address(found.node)
    assert found.scheme in (None, "http", "https")


@given(fields, addresses.filter(lambda address: not is_proxy(address)))
def test_stranger_is_taken_by_its_own_address(fields, address):
    assert client_of(address, fields, PROXIES) == Hop(address, None, None)


@given(texts, addresses.filter(lambda address: not is_proxy(address)))
def test_nothing_a_client_claims_hides_the_address_that_the_proxy_saw(claim, address):
    seen = ipaddress.ip_address(address)
    expected = str(getattr(seen, "ipv4_mapped", None) or seen)
    assert client(x_forwarded_for=f"{claim}, {seen}").node == expected
    node = f'"[{seen}]"' if seen.version == 6 else seen
    assert client(forwarded=f"{claim}, for={node}").node == expected


def is_proxy(address):
    address = ipaddress.ip_address(address)
    return any((getattr(address, "ipv4_mapped", None) or address) in network for network in PROXIES)


# Over the wire.

OPTIONS = ["--trusted-proxy", "192.0.2.0/24", "--trusted-proxy", "127.0.0.0/8", "--script-name", "/environment"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    command = python_command("async_wsgi.py", "--port", 0, *OPTIONS, "apps:application")
    with running_servers(tmp_path_factory.mktemp("proxied")) as run:
        yield run(command, cwd=TESTS).wait_started()


@pytest.fixture
def environ(server, connect):
    """Return a function that gives the environ which the application finds."""
    return lambda *request: {name: value for name, (_, value) in json.loads(connect(server).get(*request).body).items()}


def test_trusted_proxy_is_believed(environ):
    found = environ(
        "/environment/environment", "X-Forwarded-For: 1.1.1.1, 203.0.113.7, 192.0.2.1", "X-Forwarded-Proto: https",
        "X-Forwarded-Host: example.org:8443",
    )  # fmt: skip
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == ("203.0.113.7", "")
    assert (found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("https", "example.org:8443")


def test_other_proxy_is_not_believed(start, connect):
    server = start("async_wsgi.py", "apps:application", "--trusted-proxy", "192.0.2.1", cwd=TESTS)
    answer = connect(server).get("/environment", "X-Forwarded-For: 1.1.1.1", "Forwarded: for=1.1.1.1")
    assert json.loads(answer.body)["REMOTE_ADDR"][1] == "127.0.0.1"


@pytest.mark.parametrize("host", ["a b", "evil/path", "<script>", "a@b?c"])
def test_host_that_is_none_is_not_believed(environ, host):
    assert environ("/environment/environment", f"X-Forwarded-Host: {host}")["HTTP_HOST"] == "a"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/environment/environment", "/environment"),
        ("/environmen%74/%65nvironment", "/environment"),
        ("/environment/environment/x", "/environment/x"),
    ],
)
def test_script_name_is_taken_off_the_path_if_the_proxy_has_left_it(environ, target, path):
    found = environ(target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/environment", path)


def test_script_name_is_whole_segments(server, connect):
    assert connect(server).get("/environmentx").body == b"hello"


def test_path_without_the_script_name_is_as_it_comes(start, connect):
    server = start("async_wsgi.py", "apps:application", "--script-name", "/prefix", cwd=TESTS)
    found = json.loads(connect(server).get("/environment/x").body)
    assert (found["SCRIPT_NAME"][1], found["PATH_INFO"][1]) == ("/prefix", "/environment/x")


class Elsewhere(requests.adapters.HTTPAdapter):
    """Connects from an address that is not the trusted proxy's."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=("127.0.0.2", 0), **options)


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_as_the_docs_configure_it(start, connect, tmp_path):
    options = ["--trusted-proxy", "127.0.0.1", "--script-name", "/shop", "--static", f"/shop/static={ROOT / 'www'}"]
    environment = {**os.environ, "EVENTS": str(tmp_path / "events")}
    server = start("async_wsgi.py", "apps:application", *options, cwd=TESTS, env=environment)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    block = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "wsgi.md").read_text(), re.DOTALL)[1]
    block = block.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(":9000", f":{server.port}")
    paths = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    http = f"access_log off; {paths} {block}"
    configuration.write_text(f"{user} daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {http} }}")
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-p", tmp_path, "-c", configuration], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/shop"
        wait_until(lambda: accepts(port), "nginx")
        session = requests.Session()
        session.mount("http://", Elsewhere())
        session.headers = {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil",
                           "Forwarded": "for=1.1.1.1;host=evil;proto=https"}  # fmt: skip
        with session:
            found = {name: value for name, (_, value) in session.get(url + "/environment").json().items()}
            assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("127.0.0.2", "http")
            assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/shop", "/environment")
            assert found["HTTP_HOST"] == f"127.0.0.1:{port}"
            page = session.get(url + "/static/index.html").content
            assert page == (ROOT / "www" / "index.html").read_bytes()
            body = os.urandom(3_000_000)
            assert session.post(url + "/digest", data=body).text.split()[1] == hashlib.sha256(body).hexdigest()
            assert session.get(url + "/pieces?n").content == b"onetwothree"
    finally:
        nginx.terminate()
        nginx.wait()


def accepts(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0

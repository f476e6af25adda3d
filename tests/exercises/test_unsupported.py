"""Checks for the exercises of docs/unsupported.md."""

import base64

import pytest


def basic(user):
    return f"Authorization: Basic {base64.b64encode(user).decode()}"


def test_password(solution, connect):
    server = solution("-r", "www")
    client = connect(server)
    refused = client.get("/")
    assert refused.status == 401
    assert refused.fields["www-authenticate"].lower().startswith("basic realm=")
    for field in (basic(b"ada:machine"), basic(b"ada:engine2"), basic(b"ada"), "Authorization: Basic %%%", "A: b"):
        assert connect(server).get("/index.html", field).status == 401, field
    assert connect(server).get("/missing").status == 401, "a client without the password learns whether a file exists"
    assert connect(server).get("/", "Content-Length: 0", method="PUT").status == 401, "nor what one may do"
    assert connect(server).get("/", basic(b"ada:engine")).status == 200
    assert connect(server).get("/", basic(b"ada:engine").replace("Basic", "bASIC")).status == 200, "any case (RFC 9110)"
    assert connect(server).get("/missing", basic(b"ada:engine")).status == 404


@pytest.fixture
def sites(tmp_path):
    for name in ("a.example", "b.example"):
        (tmp_path / "sites" / name).mkdir(parents=True)
        (tmp_path / "sites" / name / "index.html").write_text(name)
    (tmp_path / "index.html").write_text("outside")
    (tmp_path / "sites" / "index.html").write_text("the root of all")
    return tmp_path / "sites"


def test_hosts(solution, connect, sites):
    server = solution("-r", sites)

    def ask(host):
        client = connect(server)
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = client.read_answer()
        return answer.body.decode() if answer.status == 200 else answer.status

    assert [ask("a.example"), ask("b.example:9000"), ask("A.Example")] == ["a.example", "b.example", "a.example"]
    assert ask("c.example") == 404
    for host in ("..", ".", "", "..:80", "%2e%2e"):
        assert ask(host) in (400, 404), f"Host: {host} leads out of the sites"
    client = connect(server)
    bodies = []
    for host in ("a.example", "b.example", "a.example"):
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        bodies.append(client.read_answer().body.decode())
    assert bodies == ["a.example", "b.example", "a.example"], "each request on a connection has its own Host"

"""Checks for the exercises of docs/producers.md."""

import gzip

import pytest
from conftest import group_members, wait_until

MIB = 1024 * 1024


def largest_memory(server):
    """Return the resident memory, in bytes, of the process of *server* that has most."""
    sizes = []
    for pid in group_members(server.pid):
        with open(f"/proc/{pid}/statm") as statm:
            sizes.append(int(statm.read().split()[1]) * 4096)
    return max(sizes)


def unzipped(data):
    try:
        return gzip.decompress(data)
    except EOFError:
        pytest.fail("the compressed answer is cut short: has more() returned b'' before the end?")


def test_count(solution, connect):
    server = solution()
    client = connect(server)
    answer = client.get("/count?3")
    assert (answer.status, answer.body) == (200, b"0\n1\n2\n")
    assert client.get("/count?0").body == b""
    before = largest_memory(server)
    slow = connect(server, receive_buffer=4096)
    slow.send(b"GET /count?10000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200" in slow.reader.readline()
    assert client.get("/count?2").body == b"0\n1\n", "other clients were not answered meanwhile"
    assert largest_memory(server) - before < 16 * MIB, "a client that reads slowly has filled the server's memory"
    whole = client.get("/count?100000").body
    assert whole == b"".join(b"%d\n" % number for number in range(100_000))


def test_open(solution, connect):
    server = solution()
    client, readers = connect(server), [connect(server) for _ in range(2)]
    assert client.get("/open").body.strip() == b"0"
    for reader in readers:
        reader.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200" in reader.reader.readline()
    assert client.get("/open").body.strip() == b"2"
    readers[0].close()
    wait_until(lambda: client.get("/open").body.strip() == b"1", "the end of an answer to a client that has left")
    readers[1].reset()
    wait_until(lambda: client.get("/open").body.strip() == b"0", "the end of an answer to a client that has reset")


def test_gzip(solution, connect, tmp_path):
    texts = {"empty": b"", "short": b"hello\n", "monotonous": bytes(10_000_000)}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    server = solution("-r", tmp_path)
    client = connect(server)
    before = largest_memory(server)
    for name, text in texts.items():
        answer = client.get(f"/gzip/{name}")
        assert (answer.status, answer.fields.get("content-encoding")) == (200, "gzip"), name
        assert unzipped(answer.body) == text, f"the text {name!r} did not arrive whole"
    assert largest_memory(server) - before < 8 * MIB, "the server took memory for more than a piece at a time"
    assert client.get("/gzip/missing").status == 404
    assert client.get("/short").body == b"hello\n", "without /gzip the file did not come as it is"

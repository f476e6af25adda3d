"""What happens to a file while it is sent, and what else can go wrong with a disk."""

import json
import os
import resource
import threading

import pytest
from conftest import python_command, running_servers, wait_until

from asynchttpd import files

MIB = 1024 * 1024
SENDFILE_AND_READS = pytest.mark.parametrize("variant", ["sendfile", "plain-reads"])
SMALL_WINDOW = 16384  # bytes; so that most of a file is still to be sent when a test changes it


@pytest.fixture
def serve_files(tmp_path):
    """Return a function that serves a folder from one process with a variant of tests/file_server.py."""
    with running_servers(tmp_path) as run:

        def serve(root, variant="sendfile"):
            settings = {"handler": {"root": str(root)}}
            return run(python_command("tests/file_server.py", variant, "Files", json.dumps(settings))).wait_started()

        yield serve


@pytest.fixture
def www(tmp_path):
    www = tmp_path / "www"
    www.mkdir()
    (www / "canary").write_bytes(b"alive")
    return www


def open_descriptors(server, client):
    """Return how many descriptors the server has open when it is done with a request of *client*, which stays."""
    client.get("/canary", method="HEAD")
    return server.descriptors()


def patterned(size):
    return bytes(range(251)) * (size // 251 + 1)


def begin_download(client, target):
    """Ask for *target*, read the head and a little; return (Content-Length, what was read)."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head = b"".join(iter(client.reader.readline, b"\r\n"))
    assert head.startswith(b"HTTP/1.1 200 ")
    (length,) = [int(line.split()[1]) for line in head.splitlines() if line.startswith(b"Content-Length")]
    return length, client.reader.read(100_000)


@SENDFILE_AND_READS
def test_a_file_truncated_while_it_is_sent_ends_the_connection_early(serve_files, connect, www, variant):
    """The head has promised more: only a cut tells the client. sendfile() gives 0 for ever: a naive loop spins."""
    server = serve_files(www, variant)
    canary = connect(server)
    before = open_descriptors(server, canary)
    file = www / "file"
    with file.open("wb") as writer:
        writer.truncate(100 * MIB)
    client = connect(server, SMALL_WINDOW)
    length, start = begin_download(client, "/file")
    os.truncate(file, 0)
    assert len(start + client.read_rest()) < length == 100 * MIB
    assert canary.get("/canary").body == b"alive"
    assert open_descriptors(server, canary) == before
    complaints = [line for line in server.stop() if line.startswith("WARNING")]
    assert len(complaints) == 1
    assert "/file" in complaints[0] and "truncated" in complaints[0]


@SENDFILE_AND_READS
def test_a_file_that_grows_while_it_is_sent_is_sent_as_announced(serve_files, connect, www, variant):
    content = patterned(10 * MIB)
    (www / "file").write_bytes(content)
    client = connect(serve_files(www, variant), SMALL_WINDOW)
    length, start = begin_download(client, "/file")
    with (www / "file").open("ab") as writer:
        writer.write(b"more" * 1000)
    assert length == len(content)
    assert start + client.reader.read(length - len(start)) == content
    assert client.get("/canary").body == b"alive"
    assert client.get("/file").body == content + b"more" * 1000


@SENDFILE_AND_READS
def test_a_file_replaced_while_it_is_sent_is_the_old_one_to_its_end(serve_files, connect, www, variant):
    old, new = patterned(10 * MIB), b"new" * 4_000_000
    (www / "file").write_bytes(old)
    client = connect(serve_files(www, variant), SMALL_WINDOW)
    etag = client.get("/file", method="HEAD").fields["etag"]
    length, start = begin_download(client, "/file")
    (www / "next").write_bytes(new)
    os.replace(www / "next", www / "file")
    assert start + client.reader.read(length - len(start)) == old
    answer = client.get("/file", f"If-None-Match: {etag}")
    assert (answer.status, answer.body) == (200, new)


@SENDFILE_AND_READS
def test_a_file_deleted_while_it_is_sent_arrives_whole(serve_files, connect, www, variant):
    content = patterned(10 * MIB)
    (www / "file").write_bytes(content)
    client = connect(serve_files(www, variant), SMALL_WINDOW)
    length, start = begin_download(client, "/file")
    (www / "file").unlink()
    assert start + client.reader.read(length - len(start)) == content
    assert client.get("/file").status == 404


class Meanwhile:
    """Repeats *change* in a thread for the time of a with block."""

    def __init__(self, change):
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, args=[change])

    def run(self, change):
        while not self.done.is_set():
            change()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def test_a_file_that_comes_and_goes_is_there_or_missing(serve_files, connect, www):
    content = patterned(3000)

    def come_and_go():
        (www / "next").write_bytes(content)
        os.replace(www / "next", www / "file")
        (www / "file").unlink()

    client = connect(serve_files(www))
    with Meanwhile(come_and_go):
        answers = [client.get("/file") for _ in range(1000)]
    assert {answer.status for answer in answers} <= {200, 404}
    assert {answer.body for answer in answers if answer.status == 200} <= {content}


def test_a_name_that_becomes_a_link_to_the_outside_never_shows_it(serve_files, connect, www):
    """What is checked must be what was opened, not what the name means a moment later."""
    secret = www.parent / "secret"
    secret.write_bytes(b"secret")
    (www / "good").write_bytes(b"public")

    def swap():
        for target in (secret, www / "good"):
            (www / "next").symlink_to(target)
            os.replace(www / "next", www / "swapped")

    swap()
    client = connect(serve_files(www))
    with Meanwhile(swap):
        answers = [client.get("/swapped") for _ in range(2000)]
    assert {answer.body for answer in answers if answer.status == 200} <= {b"public"}
    assert {answer.status for answer in answers} <= {200, 404}


def test_a_disk_that_fails_cuts_its_own_connection_only_and_says_so_once(serve_files, connect, www):
    (www / "file").write_bytes(patterned(10 * MIB))
    server = serve_files(www, "failing-disk")
    canary = connect(server)
    before = open_descriptors(server, canary)
    client = connect(server)
    length, start = begin_download(client, "/file")
    assert len(start + client.read_rest()) < length
    assert canary.get("/canary").body == b"alive"
    assert open_descriptors(server, canary) == before
    complaints = [line for line in server.stop() if line.startswith("WARNING")]
    assert len(complaints) == 1
    assert "/file" in complaints[0] and "Input/output error" in complaints[0]


def test_a_root_that_goes_and_comes_back_is_missing_meanwhile(serve_files, connect, www):
    client = connect(serve_files(www))
    away = www.rename(www.parent / "away")
    assert client.get("/canary").status == 404
    assert client.get("/").status == 404
    www.mkdir()
    (www / "canary").write_bytes(b"another")
    assert client.get("/canary").body == b"another"
    (www / "canary").unlink()
    www.rmdir()
    away.rename(www)
    assert client.get("/canary").body == b"alive"


def test_a_root_given_as_a_link_is_looked_up_once(start, connect, www):
    """So that a deployment that turns the link never gives a page of one release and its pictures of another."""
    other = www.parent / "other"
    other.mkdir()
    (other / "canary").write_bytes(b"another")
    link = www.parent / "current"
    link.symlink_to(www)
    client = connect(start("httpd.py", "-r", link))
    link.unlink()
    link.symlink_to(other)
    assert client.get("/canary").body == b"alive"


@SENDFILE_AND_READS
def test_a_file_of_a_tebibyte_costs_no_memory(serve_files, connect, www, variant):
    size = 2**40
    with (www / "huge").open("wb") as writer:
        try:
            writer.truncate(size)
        except OSError:
            pytest.skip("this file system has no such files")
        writer.seek(size - 3)
        writer.write(b"end")
    server = serve_files(www, variant)
    client, slow, neighbour = connect(server), connect(server, SMALL_WINDOW), connect(server)
    assert neighbour.get("/canary").body == b"alive"
    before = server.memory()
    assert begin_download(client, "/huge")[0] == begin_download(slow, "/huge")[0] == size
    for _ in range(64):
        assert len(client.reader.read(MIB)) == MIB
        assert neighbour.get("/canary").body == b"alive"
    assert neighbour.get("/huge", "Range: bytes=-3").body == b"end"
    assert neighbour.get("/huge", f"Range: bytes={size - 4}-").body == b"\0end"
    assert neighbour.get("/huge", f"Range: bytes={size}-").fields["content-range"] == f"bytes */{size}"
    assert neighbour.get("/huge", method="HEAD").fields["content-length"] == str(size)
    assert server.memory() - before < 4 * MIB


def test_clients_that_leave_give_their_files_back(serve_files, connect, www):
    (www / "file").write_bytes(patterned(10 * MIB))
    server = serve_files(www)
    canary = connect(server)
    before = open_descriptors(server, canary)
    for leave in ("reset", "close") * 20:
        client = connect(server, SMALL_WINDOW)
        begin_download(client, "/file")
        getattr(client, leave)()
    wait_until(lambda: open_descriptors(server, canary) == before, "all descriptors are back")


def test_a_file_is_opened_with_the_descriptors_that_are_made_room_for(www):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)  # the lowest that is free

    def make_room():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return True

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, hard))
        with pytest.raises(files.HTTPError) as refused:
            files.open_path(f"{www}/canary", str(www), False)
        fd, facts = files.open_path(f"{www}/canary", str(www), False, make_room=make_room)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(spare)
    os.close(fd)
    assert (refused.value.status, facts.st_size) == (503, 5)


def test_without_proc_a_link_out_of_the_root_is_missing_all_the_same(www, monkeypatch):
    """As on macOS."""
    (www / "out").symlink_to("/etc/passwd")
    (www / "inside").symlink_to("canary")
    monkeypatch.setattr(os, "readlink", fail_as_without_proc)
    with pytest.raises(files.HTTPError):
        files.open_path(f"{www}/out", str(www), False)
    fd, facts = files.open_path(f"{www}/inside", str(www), False)
    os.close(fd)
    assert facts.st_size == 5


def fail_as_without_proc(path, readlink=os.readlink, **options):
    if str(path).startswith("/proc/"):
        raise FileNotFoundError(path)
    return readlink(path, **options)

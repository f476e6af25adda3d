"""Where the server listens, and as whom: addresses, Unix sockets, those from systemd, users, pid files, options."""

import ast
import grp
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, wait_until

import httpd
from asynchttpd import pidfile, privileges, sockets

HTTPD, WSGI = "httpd.py", "async_wsgi.py"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")


def places(server):
    """Return where the server says that it listens, in order."""
    (line,) = [line for line in server.log_path.read_text().splitlines() if " Serving HTTP on " in line]
    return line.partition(" Serving HTTP on ")[2].partition(" (")[0].split(", ")


def get(address, family=socket.AF_INET, target="/"):
    """Return the answer to a request at *address*, as bytes."""
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        with sock.makefile("rb") as reader:
            return reader.read()


# Addresses.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 9000)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 9000)),
        ("::1", ("::1", 9000)),
        ("fe80::1%eth0", ("fe80::1%eth0", 9000)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("localhost:0", ("localhost", 0)),
        ("*:80", ("*", 80)),
    ],
)
def test_address_is_split(text, expected):
    assert sockets.split_address(text, 9000) == expected


@pytest.mark.parametrize("text", ["", ":80", "a:b", "a:99999", "[::1", "[::1]x", "[]:80", "127.0.0.1:-1"])
def test_address_that_makes_no_sense_is_refused(text):
    with pytest.raises(sockets.Unusable):
        sockets.split_address(text, 9000)


@pytest.mark.parametrize("host", ["localhost", "*", "::"])
def test_name_with_both_families_has_a_socket_of_each(host):
    opened = sockets.listen_on(host, 0)
    families = {sock.family for sock in opened}
    ports = {sock.getsockname()[1] for sock in opened}
    for sock in opened:
        sock.close()
    known = {info[0] for info in socket.getaddrinfo(None if host in "*::" else host, 0, type=socket.SOCK_STREAM)}
    assert families == known
    assert len(ports) == 1


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70, "a..b", "\xe4" * 70, "192.0.2.1"])
def test_host_on_which_nobody_can_listen_is_one_line(host):
    with pytest.raises(sockets.Unusable) as error:
        sockets.listen_on(host, 0)
    assert len(str(error.value).splitlines()) == 1


def test_server_listens_at_several_places_and_names_each(start, tmp_path):
    path = tmp_path / "socket"
    server = start(HTTPD, "-r", "www", "--host", "127.0.0.1", "--bind", "127.0.0.2:0", "--unix", path, "-w", 2)
    first, second, third = places(server)
    for place in (first, second):
        host, port = re.fullmatch(r"http://(.+):(\d+)/", place).groups()
        assert get((host, int(port))).startswith(b"HTTP/1.1 200 ")
    assert third == f"unix:{path}"
    assert get(str(path), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")


def test_unix_socket_alone_opens_no_port(start, tmp_path):
    path = tmp_path / "socket"
    command = [sys.executable, ROOT / HTTPD, "-r", ROOT / "www", "--unix", path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        line = next(line for line in server.stderr if " Serving HTTP on " in line)
        assert "http://" not in line
        assert get(str(path), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        server.terminate()
        server.wait(PATIENCE)
        server.stderr.read()
    assert not path.exists()


# Unix sockets.


def test_mode_of_a_unix_socket_can_be_said(start, tmp_path):
    start(HTTPD, "-r", "www", "--host", "127.0.0.1", "--unix", tmp_path / "socket", "--unix-mode", "0666")
    assert stat.S_IMODE(os.stat(tmp_path / "socket").st_mode) == 0o666


def test_file_of_a_dead_server_is_replaced_and_a_living_ones_is_not(tmp_path):
    path = str(tmp_path / "socket")
    first = sockets.listen_on_path(path, 0o600)
    with pytest.raises(sockets.Unusable, match="a server is listening there"):
        sockets.listen_on_path(path, 0o600)
    first.close()
    sockets.listen_on_path(path, 0o600).close()


def test_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(sockets.Unusable, match="no socket"):
        sockets.listen_on_path(str(path), 0o600)
    assert path.read_text() == "mine"


def test_unix_socket_of_a_successor_is_not_removed(tmp_path):
    path = tmp_path / "socket"
    first = sockets.listen_on_path(str(path), 0o600)
    made = {str(path): os.lstat(path)}
    path.unlink()
    second = sockets.listen_on_path(str(path), 0o600)
    sockets.remove_paths(made)
    assert path.exists()
    first.close()
    second.close()


APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr({name: environ.get(name) for name in (
        "REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")}).encode()]
"""


def test_application_and_log_learn_something_sensible_of_a_unix_socket(start, tmp_path):
    (tmp_path / "tells.py").write_text(APPLICATION)
    path, log = tmp_path / "socket", tmp_path / "access"
    options = ["--host", "127.0.0.1", "--unix", path, "--trusted-proxy", "unix", "--access-log", log]
    server = start(WSGI, "tells", *options, cwd=tmp_path)
    told = ast.literal_eval(get(str(path), socket.AF_UNIX).partition(b"\r\n\r\n")[2].decode())
    assert (told["REMOTE_ADDR"], told["REMOTE_PORT"], told["SERVER_NAME"]) == ("unix", "", "localhost")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        fields = b"Host: a\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"
        sock.sendall(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        with sock.makefile("rb") as reader:
            forwarded = ast.literal_eval(reader.read().partition(b"\r\n\r\n")[2].decode())
    assert (forwarded["REMOTE_ADDR"], forwarded["wsgi.url_scheme"]) == ("203.0.113.7", "https")
    told = ast.literal_eval(get((server.host, server.port)).partition(b"\r\n\r\n")[2].decode())
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    server.stop()
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["unix", "203.0.113.7", "127.0.0.1"]


# From systemd.


HANDED_OVER = """
import os, socket, sys
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
for number, sock in enumerate(listening):
    os.dup2(sock.fileno(), 3 + number)
    os.set_inheritable(3 + number, True)
if sys.argv[1] == "deaf":
    os.dup2(0, 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_sockets_that_systemd_hands_over_are_used(run_command):
    server = run_command([sys.executable, "-c", HANDED_OVER, "both", str(ROOT / HTTPD), "-r", str(ROOT / "www")])
    server.wait_started()
    for place in places(server):
        host, port = re.fullmatch(r"http://(.+):(\d+)/", place).groups()
        assert get((host, int(port))).startswith(b"HTTP/1.1 200 ")
    assert len(places(server)) == 2


def test_descriptor_from_systemd_that_does_not_listen_is_one_line_and_status_1():
    command = [sys.executable, "-c", HANDED_OVER, "deaf", ROOT / HTTPD, "-r", ROOT / "www"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert "descriptor 4 (admin)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_systemd_hears_how_we_are(start, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(PATIENCE)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        server = start(HTTPD, "-r", "www", env=environment)
        heard = []

        def hears(what):
            while not any(what in text for text in heard):
                heard.append(systemd.recv(4096).decode())

        hears("READY=1")
        hears("WATCHDOG=1")
        hears("STATUS=1 workers, 0 connections")
        heard.clear()
        server.signal(signal.SIGHUP)
        hears("RELOADING=1")
        assert re.search(r"^MONOTONIC_USEC=\d+$", heard[-1], re.M)
        hears("READY=1")
        server.signal(signal.SIGTERM)
        hears("STOPPING=1")
        server.wait()


# A port that orphans hold.


def test_port_of_a_master_that_was_killed_is_waited_for(start, run_command):
    first = start(HTTPD, "-r", "www", "-w", 2)
    first.may_complain = True
    wait_until(lambda: len(first.workers()) == 2, "two workers")
    first.signal(signal.SIGKILL)
    first.process.wait()
    command = [sys.executable, ROOT / HTTPD, "-r", ROOT / "www", "--port", first.port]
    second = run_command([str(word) for word in command]).wait_started()
    assert second.port == first.port
    wait_until(lambda: get(("127.0.0.1", first.port)).startswith(b"HTTP/1.1 200 "), "an answer")


def test_port_of_a_living_server_is_not_waited_for_and_its_owner_named(start):
    server = start(HTTPD, "-r", "www")
    command = [sys.executable, ROOT / HTTPD, "-r", ROOT / "www", "--port", str(server.port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert str(server.pid) in ended.stderr


# Users.


@pytest.mark.parametrize(
    ("user", "group", "named"),
    [
        ("nosuchuser", None, "nosuchuser"), ("\u00b2", None, "user"), (None, "nosuchgroup", "nosuchgroup"),
        ("0", None, "--user"), ("nobody", "0", "group 0"),
    ],
)  # fmt: skip
def test_user_that_cannot_be_taken_is_refused(user, group, named):
    with pytest.raises(privileges.Refused, match=named):
        privileges.find(user, group)


@pytest.fixture
def open_folder():
    """Where everybody may write; each pytest that starts closes the folder above tmp_path to other users."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@as_root
def test_root_becomes_somebody_else_in_master_and_workers(start, open_folder):
    log, access = open_folder / "log", open_folder / "access"
    nobody = pwd.getpwnam("nobody")
    (open_folder / "index.html").write_text("page")
    options = ["-r", open_folder, "-w", 2, "--user", "nobody", "--access-log", access]
    options += ["--host", "127.0.0.1", "--unix", open_folder / "socket"]
    server = start(HTTPD, *options)
    wait_until(lambda: len(server.workers()) == 2, "two workers")
    for pid in (server.pid, *server.workers()):
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Uid:\s+(.*)$", status, re.M)[1].split() == [str(nobody.pw_uid)] * 4
        assert re.search(r"^Gid:\s+(.*)$", status, re.M)[1].split() == [str(nobody.pw_gid)] * 4
        assert set(re.search(r"^Groups:[ \t]*(.*)$", status, re.M)[1].split()) <= {str(nobody.pw_gid)}
    socket_file = (open_folder / "socket").stat()
    assert (socket_file.st_uid, socket_file.st_gid) == (nobody.pw_uid, nobody.pw_gid)
    access.rename(log)
    server.signal(signal.SIGUSR1)
    wait_until(access.exists, "a new file after the rotation")
    assert access.stat().st_uid == nobody.pw_uid
    assert get(("127.0.0.1", server.port)).startswith(b"HTTP/1.1 200 ")


@as_root
def test_group_alone_can_be_given():
    name = grp.getgrgid(65534).gr_name
    code = (
        "import os; from asynchttpd import privileges; os.setgroups([0, 4]); "
        f"privileges.drop('nobody', {name!r}, [], []); print(os.getresuid(), os.getgroups())"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "0," not in output.split(")")[0]


@as_root
def test_root_is_warned(start):
    server = start(HTTPD, "-r", "www")
    server.stop()
    assert server.log_path.read_text().count("running as root") == 1


# The file with our number.


def test_pid_file_is_the_parents_and_gone_at_the_end(start, tmp_path):
    path = tmp_path / "pid"
    server = start(HTTPD, "-r", "www", "-w", 2, "--pid", path)
    assert int(path.read_text()) == server.pid
    server.stop()
    assert not path.exists()


def test_pid_file_of_a_dead_server_is_replaced(tmp_path):
    path = tmp_path / "pid"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(f"{ended.pid}\n")
    pidfile.PidFile(str(path)).remove()
    assert not path.exists()


@pytest.mark.parametrize("content", ["1\n", "not a number", "ours"])
def test_pid_file_of_somebody_else_is_left_alone(tmp_path, content):
    path = tmp_path / "pid"
    path.write_text(content := content.replace("ours", str(os.getpid())))
    with pytest.raises(pidfile.Taken):
        pidfile.PidFile(str(path))
    assert path.read_text() == content


def test_pid_file_is_not_written_through_a_link(tmp_path):
    target = tmp_path / "target"
    (tmp_path / "pid").symlink_to(target)
    with pytest.raises((pidfile.Taken, OSError)):
        pidfile.PidFile(str(tmp_path / "pid"))
    assert not target.exists()


# Options from elsewhere.


def test_environment_and_file_say_what_the_command_line_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("ASYNCHTTPD_WORKERS", "3")
    monkeypatch.setenv("ASYNCHTTPD_LISTING", "yes")
    monkeypatch.setenv("ASYNCHTTPD_HEADER", "A: 1\nB: 2")
    (tmp_path / "options").write_text("--grace\n7\n-H\nC: 3\n")
    args = httpd.parse_args([])
    assert (args.workers, args.listing, args.extra_fields) == (3, True, ["A: 1", "B: 2"])
    args = httpd.parse_args([f"@{tmp_path / 'options'}", "-w", "2", "-H", "D: 4"])
    assert (args.workers, args.grace, args.extra_fields) == (2, 7, ["C: 3", "D: 4"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORKERS", "many"), ("LISTING", "perhaps"), ("HEADER", "no colon"), ("LOG_FORMAT", "xml"), ("BIND", "a:b:c:d]")],
)
def test_environment_that_makes_no_sense_is_named_in_one_line(monkeypatch, capsys, name, value):
    monkeypatch.setenv(f"ASYNCHTTPD_{name}", value)
    with pytest.raises(SystemExit) as stop:
        httpd.parse_args([])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"ASYNCHTTPD_{name}" in line


@pytest.mark.parametrize(
    "options", [["--host", "a:80"], ["--bind", "a:b"], ["--unix-mode", "9"], ["@no-such-file"], ["--bind", "a:70000"]]
)
def test_option_that_makes_no_sense_is_one_line_and_status_2(options, capsys):
    with pytest.raises(SystemExit) as stop:
        httpd.parse_args(options)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ([HTTPD, "-r", "www"], 0),
        ([WSGI, "my_app"], 0),
        ([WSGI, "no_such_module"], 2),
        ([HTTPD, "-r", "www", "--user", "root"], 1),
    ],
)
def test_check_loads_everything_and_serves_nothing(command, status):
    line = [sys.executable, *command, "--check", "--port", "1"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert ended.returncode == status, ended.stderr
    assert len(ended.stderr.splitlines()) == bool(status)

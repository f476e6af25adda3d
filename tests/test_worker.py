"""A worker's process: the signals of what it starts, its end, and its three standard streams."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, group_members, python_command, running_servers, wait_until

APPLICATION = """
import atexit, concurrent.futures, multiprocessing, os, subprocess, sys, threading, time, warnings

warnings.simplefilter("ignore", ResourceWarning)  # that files are left open is the point
STATUS = "import re; print(re.findall('Sig(?:Blk|Ign).*', open('/proc/self/status').read()))"
opened = open("opened.txt", "w")
atexit.register(lambda: open("atexit.txt", "a").write(f"{os.getpid()}\\n"))

def pool():
    executor = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    kept.append(executor)
    return executor.submit(os.getpid).result()

def fork():
    child = os.fork()
    if child == 0:
        os.setsid()
        os.closerange(0, 3)  # or who reads our output would wait for it
        time.sleep(60)
        os._exit(0)
    return child

kept = []
WORK = {
    "/": os.getpid,
    "/subprocess": lambda: subprocess.run([sys.executable, "-c", STATUS], stdout=subprocess.PIPE, text=True).stdout,
    "/write": lambda: opened.write("not flushed"),
    "/pool": pool,
    "/fork": fork,
    "/thread": lambda: threading.Thread(target=time.sleep, args=(60,), name="Sleepy").start(),
    "/print": lambda: print("x" * 10),
}

def application(environ, start_response):
    body = str(WORK[environ["PATH_INFO"]]())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
"""


@pytest.fixture
def start_app(tmp_path):
    (tmp_path / "starter.py").write_text(APPLICATION)

    def start_it(*options, **popen):
        command = python_command("async_wsgi.py", "--port", 0, "starter:application", *options)
        return servers(command, cwd=tmp_path, **popen).wait_started()

    with running_servers(tmp_path) as servers:
        yield start_it


def ask(connect, server, target):
    client = connect(server)
    answer = client.get(target)
    client.close()
    assert answer.status == 200
    return answer.body.decode()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What the application starts.


def test_programs_that_the_application_starts_have_the_signals_of_any_program(start_app, connect):
    code = "import re; print(re.findall('Sig(?:Blk|Ign).*', open('/proc/self/status').read()))"
    usual = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert ask(connect, start_app(), "/subprocess") == usual


def test_forked_child_obeys_signals_and_has_none_of_our_sockets(start_app, connect):
    server = start_app()
    client = connect(server)
    child = int(client.get("/fork").body)
    try:
        wait_until(lambda: os.getsid(child) == child, "start of the child")
        open_there = [os.readlink(entry) for entry in Path(f"/proc/{child}/fd").iterdir()]
        assert not [target for target in open_there if target.startswith(("socket:", "anon_inode:[eventpoll]"))]
        assert client.get("/").status == 200  # the worker has lost nothing
        server.signal(signal.SIGTERM)
        assert server.wait() == 0  # its output ends only with the child's
        socket.create_server((server.host, server.port)).close()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            assert is_caught(child, number) == (number == signal.SIGINT)  # Python's own KeyboardInterrupt
        os.kill(child, signal.SIGTERM)
        wait_until(lambda: not is_alive(child), "end of the child")
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)


def is_caught(pid, number):
    mask = int(re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)
    return bool(mask >> (number - 1) & 1)


# Its end.


@pytest.mark.parametrize("end", ["TERM", "INT", "HUP", "--max-requests"])
def test_worker_ends_as_a_program_does(start_app, connect, tmp_path, end):
    """The hooks of atexit have run, files are flushed, and processes of a pool have ended."""
    server = start_app(*["--max-requests", 3] * end.startswith("-"))
    worker, child = ask(connect, server, "/"), int(ask(connect, server, "/pool"))
    ask(connect, server, "/write")
    if not end.startswith("-"):
        server.signal(getattr(signal, f"SIG{end}"))
    wait_until(lambda: int(worker) not in server.workers() and not is_alive(child), "end of the worker")
    assert worker in (tmp_path / "atexit.txt").read_text().split()
    if end in ("TERM", "INT"):  # else the next worker has opened the file anew
        assert (tmp_path / "opened.txt").read_text() == "not flushed"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_exit_that_does_not_end_is_over_after_the_grace(start_app, connect, end):
    server = start_app("--grace", 1)
    worker = int(ask(connect, server, "/"))
    ask(connect, server, "/thread")
    server.signal(end)
    wait_until(lambda: worker not in server.workers(), "end of the worker", patience=5)
    assert [line for line in server.stop() if "exit does not end: thread Sleepy" in line]


# Standard streams and the current folder.


@pytest.mark.parametrize("closed", [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)], ids=str)
def test_server_whose_standard_streams_are_closed_serves(tmp_path, connect, closed):
    """As a daemon starts it; what is opened first must not pass for stderr."""
    log = tmp_path / "server.log"
    close = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in closed)
    command = python_command("httpd.py", "--port", 0, "-w", 2, "--logfile", log)
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {close}', "sh", *command], cwd=ROOT / "www")
    try:
        wait_until(lambda: log.exists() and "Serving HTTP" in log.read_text(), "start")
        host, port = re.search(r"http://([\d.]+):(\d+)/", log.read_text()).groups()
        with socket.create_connection((host, int(port)), PATIENCE) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        assert all(os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null" for fd in closed)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_worker_with_a_dead_stdout_ends(tmp_path, connect):
    """It does not run on as a second master."""
    (tmp_path / "starter.py").write_text(APPLICATION)
    log = tmp_path / "server.log"
    command = python_command("async_wsgi.py", "--port", 0, "--logfile", log, "starter:application")
    reader, writer = os.pipe()
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=buffered, stdout=writer, stderr=subprocess.DEVNULL, start_new_session=True
    )
    os.close(writer)
    os.close(reader)
    try:
        wait_until(lambda: log.exists() and "Serving HTTP" in log.read_text(), "start")
        port = int(re.search(r":(\d+)/", log.read_text())[1])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(b"GET /print HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "takes the place of" in log.read_text(), "reload")
        wait_until(lambda: len(group_members(process.pid)) == 2, "end of the old worker")
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not group_members(process.pid)
    finally:
        for pid in group_members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("arguments", [("httpd.py",), ("async_wsgi.py", "my_app:application")])
def test_deleted_current_folder_is_one_line(tmp_path, arguments):
    (tmp_path / "gone").mkdir()
    command = python_command(arguments[0], "--port", 0, *arguments[1:])
    code = 'cd "$0" && rmdir "$0" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", code, tmp_path / "gone", *command], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "current folder" in done.stderr


# Signals to the master that have no place elsewhere.


def test_signals_that_mean_nothing_are_told_once_and_quit_stops(start_app, connect):
    server = start_app()
    (worker,) = server.workers()
    for number in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGUSR2, signal.SIGWINCH):
        os.killpg(server.pid, number)
        assert ask(connect, server, "/") == str(worker)
    for name in ("SIGUSR2", "SIGWINCH"):
        wait_until(lambda name=name: [line for line in server.log_lines() if name in line], f"word of {name}")
    os.killpg(server.pid, signal.SIGQUIT)
    assert server.wait() == 0
    assert len(server.stop()) == 2

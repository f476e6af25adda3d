"""--reload: a changed source file is served at once, a broken one shows its traceback and keeps the old code."""

import os
import sys
import sysconfig
import venv

import pytest
from conftest import ROOT, running_servers, wait_until

SOURCE = """
from greeting import GREETING

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/stream":
        return iter(lambda: bytes(2**16), None)
    return [GREETING]
"""


@pytest.fixture
def site(tmp_path):
    """A folder with the application greeter.py, which imports greeting.py."""
    (tmp_path / "greeter.py").write_text(SOURCE)
    (tmp_path / "greeting.py").write_text('GREETING = b"one"\n')
    return tmp_path


@pytest.mark.parametrize("folder", ["env-app", "env/src"])
def test_project_beside_or_inside_its_virtual_environment_is_reloaded(connect, tmp_path, folder):
    """The paths of both begin with the same text, but the project is not installed."""
    venv.create(tmp_path / "env", symlinks=True)
    site = tmp_path / folder
    site.mkdir()
    (site / "greeter.py").write_text(SOURCE)
    (site / "greeting.py").write_text('GREETING = b"one"\n')
    python = tmp_path / "env" / "bin" / "python"
    command = [python, "-B", ROOT / "async_wsgi.py", "--port", "0", "--reload", "greeter:application"]
    # asyncore, which Python 3.12 and later do not bring
    environ = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    with running_servers(tmp_path) as servers:
        server = servers(command, cwd=site, env=environ).wait_started()
        wait_for_body(connect, server, b"one")
        change(site / "greeting.py", 'GREETING = b"two"\n')
        wait_for_body(connect, server, b"two")


@pytest.fixture
def server(site):
    with running_servers(site) as servers:
        # Cached bytecode is told from new source by whole seconds: too coarse for us.
        command = [sys.executable, "-B", str(ROOT / "async_wsgi.py"), "--port", "0", "--reload", "greeter:application"]
        server = servers(command, cwd=site).wait_started()
        wait_until(server.workers, "a worker")
        yield server


def change(path, text):
    """Write *path* as an editor does: another file, moved into its place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def wait_for_body(connect, server, body):
    def served():
        client = connect(server)
        found = client.get("/").body
        client.close()
        return found == body

    wait_until(served, f"answer {body!r}")


def test_changed_source_is_served(server, connect, site):
    wait_for_body(connect, server, b"one")
    change(site / "greeting.py", 'GREETING = b"two"\n')  # a module that the application imports
    wait_for_body(connect, server, b"two")
    change(site / "greeter.py", SOURCE.replace("[GREETING]", '[b"three"]'))
    wait_for_body(connect, server, b"three")
    assert any("a source file has changed" in line for line in server.stop())


def test_each_save_is_served_though_clients_still_stream(site, connect):
    """Also saves in one second and of one size, between which cached bytecode cannot tell."""
    with running_servers(site) as servers:
        command = [sys.executable, str(ROOT / "async_wsgi.py"), "--port", "0", "--reload", "greeter:application"]
        caching = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        server = servers(command, cwd=site, env=caching).wait_started()
        streams = []
        for count in range(10, 17):
            change(site / "greeting.py", f'GREETING = b"{count}"\n')
            wait_for_body(connect, server, b"%d" % count)
            streams.append(connect(server, receive_buffer=4096))
            streams[-1].send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            assert streams[-1].sock.recv(1) == b"H"
        for stream in streams:
            stream.close()
        wait_until(lambda: len(server.workers()) == 1, "leaving of those that have streamed")
        assert connect(server).get("/").body == b"16"
        saves = [line for line in server.stop() if "a source file has changed" in line]
        # Each is seen by the worker that serves, a few by the one that boots just then; not by those that still stream.
        assert 7 <= len(saves) <= 10


def test_broken_source_keeps_the_old_until_it_is_repaired(server, connect, site):
    wait_for_body(connect, server, b"one")
    (worker,) = server.workers()
    server.may_complain = True
    change(site / "greeting.py", "GREETING = (\n")
    wait_until(lambda: any("the old ones stay" in line for line in server.log_lines()), "word of the failure")
    assert connect(server).get("/").body == b"one"
    assert server.workers() == [worker]
    change(site / "greeting.py", 'GREETING = b"two"\n')
    wait_for_body(connect, server, b"two")
    log = server.stop()
    assert sum("SyntaxError" in line for line in log) == sum("the old ones stay" in line for line in log)


def test_source_that_changes_while_the_worker_loads_it_is_served(connect, site):
    """The watch begins when the worker serves: then the file is newer than the worker."""
    (site / "greeter.py").write_text(
        SOURCE
        + """
import os
if GREETING == b"one":
    with open("greeting.new", "w") as file:
        file.write("GREETING = b'two'\\n")
    os.replace("greeting.new", "greeting.py")
"""
    )
    with running_servers(site) as servers:
        command = [sys.executable, "-B", str(ROOT / "async_wsgi.py"), "--port", "0", "--reload", "greeter:application"]
        wait_for_body(connect, servers(command, cwd=site).wait_started(), b"two")


def test_unchanged_and_foreign_files_reload_nothing(server, connect, site):
    wait_for_body(connect, server, b"one")
    (worker,) = server.workers()
    (site / "notes.txt").write_text("not a source file")
    os.utime(site / "notes.txt", (1, 1))
    change(site / "greeting.py", 'GREETING = b"two"\n')
    wait_for_body(connect, server, b"two")
    (second,) = wait_until(lambda: [pid for pid in server.workers() if pid != worker], "new worker")
    wait_until(lambda: server.workers() == [second], "end of the old worker")
    assert sum("a source file has changed" in line for line in server.stop()) == 1

"""Three instances behind HAProxy and nginx, restarted, reloaded and killed under load: how many requests are lost?

    python bench/rolling.py [--proxy haproxy|nginx] [--gunicorn]

The clients send GET and POST on kept connections, and try nothing twice; a slow download and a slow upload are in
flight at each stop. Prints a table, and exits with 1 if a request was lost that should not be. Loopback only.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import faults

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 30.0  # seconds


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Instance:
    """One server on a port that stays its own; stopped and started again."""

    def __init__(self, folder, with_gunicorn):
        self.folder, self.port, self.status_port = folder, free_port(), free_port()
        self.with_gunicorn = with_gunicorn
        self.start()

    def start(self):
        if self.with_gunicorn:
            bind = f"127.0.0.1:{self.port}"
            command = [sys.executable, "-m", "gunicorn", "-b", bind, "-k", "gthread", "--threads", "8", "-w", "2"]
        else:
            command = [sys.executable, str(ROOT / "async_wsgi.py"), "--port", str(self.port), "-w", "2"]
            command += ["--threads", "8", "--status", str(self.status_port), "--drain-delay", "2"]
        self.process = subprocess.Popen(
            [*command, "fault_app:application"], cwd=self.folder, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.wait_for(self.port)

    def wait_for(self, port):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError("an instance did not start")

    def restart(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.start()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Proxy:
    """HAProxy or nginx with its file of deploy/, the ports changed."""

    def __init__(self, kind, folder, instances):
        self.port = free_port()
        name, public = {"haproxy": ("haproxy.cfg", 8080), "nginx": ("nginx.conf", 8081)}[kind]
        text = (ROOT / "deploy" / name).read_text().replace(f"127.0.0.1:{public}", f"127.0.0.1:{self.port}")
        for number, instance in enumerate(instances, start=1):
            text = text.replace(f"127.0.0.1:900{number}", f"127.0.0.1:{instance.port}")
            text = text.replace(f"check port 910{number}", f"check port {instance.status_port}")
            if instance.with_gunicorn:  # it has no health of its own
                text = text.replace(f"check port {instance.status_port}", "check")
        if instances[0].with_gunicorn:
            text = text.replace("GET /health", "GET /hello")
        path = Path(folder, name)
        path.write_text(text)
        if kind == "haproxy":
            command = ["haproxy", "-db", "-f", str(path)]
        else:
            command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-c", str(path), "-g", "daemon off;"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        instances[0].wait_for(self.port)
        self.client = faults.Server.client.__get__(self)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Load:
    """Clients on kept connections: every third request is a POST. What is not answered with 200 is lost."""

    def __init__(self, proxy, clients=8, posts=True):
        self.proxy, self.posts, self.answered, self.lost = proxy, posts, 0, []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def run(self):
        number = 0
        while not self.done.is_set():
            with contextlib.suppress(OSError), self.proxy.client() as sock:
                for _ in range(50):
                    number += 1
                    is_post = self.posts and number % 3 == 0
                    try:
                        status, _ = faults.exchange(
                            sock, *(["/upload", b"POST", bytes(5000)] if is_post else ["/hello"])
                        )
                        if status != 200:
                            raise ValueError(f"status {status}")
                        self.answered += 1
                    except (OSError, ValueError) as error:
                        self.lost.append(f"{'POST' if is_post else 'GET'}: {error}")
                        break
                    if self.done.is_set():
                        return


def slow_transfers(proxy):
    """Return a thread that downloads 64 MiB slowly and uploads 2 MB slowly, and the list of what went wrong."""
    wrong = []

    def download():
        with proxy.client() as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            size = 0
            while piece := sock.recv(262144):
                size += len(piece)
                time.sleep(0.01)
            if size < 2**26:
                wrong.append(f"download cut after {size} bytes")

    def upload():
        with proxy.client() as sock:
            body = bytes(2_000_000)
            sock.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 20_000):
                sock.sendall(body[start : start + 20_000])
                time.sleep(0.02)
            if faults.read_answer(sock) != (200, b"2000000"):
                wrong.append("upload not answered")

    def guarded(function):
        try:
            function()
        except (OSError, ValueError) as error:
            wrong.append(f"{function.__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(function,)) for function in (download, upload)]
    for thread in threads:
        thread.start()
    return threads, wrong


def drill(kind, with_gunicorn, action):
    """Do *action* to three instances behind a proxy under load; return (answered, lost, transfers that went wrong)."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "bench" / "fault_app.py", folder)
        instances = [Instance(folder, with_gunicorn) for _ in range(3)]
        proxy = Proxy(kind, folder, instances)
        try:
            time.sleep(3)  # the proxy's first checks
            with Load(proxy, posts=action is not kill_one) as load:
                threads, wrong = slow_transfers(proxy) if action is not kill_one else ([], [])
                time.sleep(0.5)
                action(instances)
                for thread in threads:
                    thread.join()
                time.sleep(1)
        finally:
            proxy.stop()
            for instance in instances:
                instance.kill()
    return load.answered, load.lost, wrong


def rolling_restart(instances):
    for instance in instances:
        instance.restart()
        time.sleep(3)  # until the proxy has it again


def rolling_reload(instances):
    for instance in instances:
        instance.process.send_signal(signal.SIGHUP)
        time.sleep(2)


def kill_one(instances):
    """End one with -9, without a word. It may lose what it holds: at most a request for each client."""
    time.sleep(1)
    instances[0].kill()
    time.sleep(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--proxy", choices=["haproxy", "nginx"], action="append", help="only behind this one")
    parser.add_argument("--gunicorn", action="store_true", help="the same with gunicorn's gthread, to compare")
    args = parser.parse_args()
    good = True
    print("| server | proxy | drill | answered | lost | transfers cut |\n|---|---|---|--:|--:|--:|")
    for with_gunicorn in [False, True] if args.gunicorn else [False]:
        for kind in args.proxy or ["haproxy", "nginx"]:
            for action in (rolling_restart, rolling_reload, kill_one):
                answered, lost, wrong = drill(kind, with_gunicorn, action)
                name = "gunicorn" if with_gunicorn else "asynchttpd"
                row = [name, kind, action.__name__.replace("_", " "), answered, len(lost), len(wrong)]
                print("|", *" | ".join(map(str, row)).split(" "), "|", flush=True)
                for text in sorted({*lost, *wrong})[:5]:
                    print(f"  {text}", file=sys.stderr)
                if not with_gunicorn:
                    good = good and len(lost) <= (8 if action is kill_one else 0) and not wrong
    sys.exit(not good)


if __name__ == "__main__":
    main()

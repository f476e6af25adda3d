"""Three instances behind HAProxy and nginx, restarted, reloaded and killed under load: how many requests are lost?

    python bench/rolling.py [--short] [--proxy haproxy|nginx] [--gunicorn]

The clients send GET and POST on kept connections, and try nothing twice; slow downloads, slow uploads and streams are
in flight at each stop. Prints a table, and exits with 1 if a request was lost that should not be. Loopback only.
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
    """One server on a port that stays its own; stopped and started again.

    interval -- seconds between two looks of HAProxy at its health
    """

    def __init__(self, folder, with_gunicorn, interval):
        self.folder, self.interval = folder, interval
        self.port, self.status_port = free_port(), free_port()
        self.with_gunicorn = with_gunicorn
        self.start()

    def start(self):
        if self.with_gunicorn:
            bind = f"127.0.0.1:{self.port}"
            command = [sys.executable, "-m", "gunicorn", "-b", bind, "-k", "gthread", "--threads", "8", "-w", "2"]
        else:
            command = [sys.executable, str(ROOT / "async_wsgi.py"), "--port", str(self.port), "-w", "2"]
            command += ["--threads", "8", "--status", str(self.status_port)]
            command += ["--drain-delay", f"{2 * self.interval:.0f}"]
        self.process = subprocess.Popen(
            [*command, "fault_app:application"], cwd=self.folder, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.wait_for(self.port)

    def wait_for(self, port):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("an instance did not start")

    def restart(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.start()
        time.sleep(2.5 * self.interval)  # until HAProxy has it again

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
        text = text.replace("inter 1s", f"inter {1000 * instances[0].interval:.0f}ms")
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
    """Clients on kept connections; what is not answered with 200 is lost.

    pause -- seconds between two requests of a client
    reads_only -- GET only, and no slow transfers; else every third request is a POST
    cut -- transfers that went wrong
    """

    def __init__(self, proxy, clients, pause, reads_only):
        self.proxy, self.pause, self.posts = proxy, pause, not reads_only
        self.answered, self.lost, self.transfers, self.cut = [], [], [], []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        if not reads_only:
            self.threads += [threading.Thread(target=self.repeat, args=(kind,)) for kind in 2 * TRANSFERS]

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
                    request = ["/upload", b"POST", bytes(5000)] if self.posts and number % 3 == 0 else ["/hello"]
                    try:
                        status, _ = faults.exchange(sock, *request)
                        if status != 200:
                            raise ValueError(f"status {status}")
                        self.answered.append(status)
                    except (OSError, ValueError) as error:
                        self.lost.append(f"{request[0]}: {error}")
                        break
                    if self.done.wait(self.pause):
                        return

    def repeat(self, transfer):
        while not self.done.is_set():
            try:
                with self.proxy.client() as sock:
                    if not transfer(sock):
                        raise ValueError("not whole")
                self.transfers.append(transfer)
            except (OSError, ValueError) as error:
                self.cut.append(f"{transfer.__name__}: {error}")


# Each tells whether it was complete.


def slow_download(sock):
    sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    size = 0
    while piece := sock.recv(2**17):
        size += len(piece)
        time.sleep(0.01)
    return size > 2**24


def slow_upload(sock):
    body = bytes(1_000_000)
    sock.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 20_000):
        sock.sendall(body[start : start + 20_000])
        time.sleep(0.02)
    return faults.read_answer(sock) == (200, b"1000000")


def stream(sock):
    status, body = faults.exchange(sock, "/ticks")
    return status == 200 and body.endswith(b"19\n")


TRANSFERS = (slow_download, slow_upload, stream)


def drill(kinds, with_gunicorn, clients, pause, interval):
    """Do each action to three instances behind proxies of these *kinds* under load; yield (kind, action, load)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # nginx's workers, which are not root, keep long bodies in it
        shutil.copy(ROOT / "bench" / "fault_app.py", folder)
        instances = [Instance(folder, with_gunicorn, interval) for _ in range(3)]
        proxies = {kind: Proxy(kind, folder, instances) for kind in kinds}
        try:
            time.sleep(1)  # the proxies' first checks
            for action in (rolling_restart, rolling_reload, kill_one):
                loads = [Load(proxy, clients, pause, action is kill_one) for proxy in proxies.values()]
                with contextlib.ExitStack() as stack:
                    for load in loads:
                        stack.enter_context(load)
                    time.sleep(0.5)
                    action(instances)
                    time.sleep(1)
                for kind, load in zip(kinds, loads, strict=True):
                    yield kind, action, load
        finally:
            for proxy in proxies.values():
                proxy.stop()
            for instance in instances:
                instance.kill()


def rolling_restart(instances):
    for instance in instances:
        instance.restart()


def rolling_reload(instances):
    for instance in instances:
        instance.process.send_signal(signal.SIGHUP)
        time.sleep(1)


def kill_one(instances):
    """End one with -9, without a word. It may lose what it holds: at most a request for each client."""
    instances[0].kill()
    time.sleep(1.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="both proxies at the same time, and half a core of load")
    parser.add_argument("--proxy", choices=["haproxy", "nginx"], action="append", help="only behind this one")
    parser.add_argument("--gunicorn", action="store_true", help="the same with gunicorn's gthread, to compare")
    args = parser.parse_args()
    kinds = args.proxy or ["haproxy", "nginx"]
    sizes = (4, 0.01, 0.5) if args.short else (8, 0, 1)  # clients, their pause, the interval of checks
    good = True
    print("| server | proxy | drill | answered | lost | transfers | cut |\n|---|---|---|--:|--:|--:|--:|")
    for with_gunicorn in [False, True] if args.gunicorn else [False]:
        name = "gunicorn" if with_gunicorn else "asynchttpd"
        for together in [kinds] if args.short else [[kind] for kind in kinds]:
            for kind, action, load in drill(together, with_gunicorn, *sizes):
                counts = [len(counted) for counted in (load.answered, load.lost, load.transfers, load.cut)]
                print(
                    "|", " | ".join([name, kind, action.__name__.replace("_", " "), *map(str, counts)]), "|", flush=True
                )
                for text in sorted({*load.lost, *load.cut})[:5]:
                    print(f"  {text}", file=sys.stderr)
                if not with_gunicorn:
                    good = good and len(load.lost) <= (sizes[0] if action is kill_one else 0) and not load.cut
    sys.exit(not good)


if __name__ == "__main__":
    main()

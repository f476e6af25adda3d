"""Measure what docs/wsgi.md says about processes and threads; print its table. Takes about a minute, needs ab.

python docs/wsgi_modes.py
"""

import http.client
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parent.parent
MODES = ["-w 1", "-w 2", "-w 1 --threads 16", "-w 2 --threads 16"]
SECONDS, CLIENTS = 3, 32
TEXT = [("Content-Type", "text/plain")]


def answers(environ, start_response):
    """Answer at once."""
    start_response("200 OK", TEXT.copy())
    return [b"hello"]


def waits(environ, start_response):
    """Wait 50 ms, as for a database."""
    time.sleep(0.05)
    return answers(environ, start_response)


def computes(environ, start_response):
    """Compute for about 10 ms."""
    deadline = time.thread_time() + 0.01
    while time.thread_time() < deadline:
        sum(range(1000))
    return answers(environ, start_response)


def measure(mode, application):
    """Return (requests a second, milliseconds that the slowest but one in a hundred files took meanwhile)."""
    command = [
        sys.executable,
        ROOT / "async_wsgi.py",
        *mode.split(),
        "--port",
        "0",
        "--static",
        f"/static={ROOT / 'www'}",
    ]
    server = subprocess.Popen(
        [*command, f"wsgi_modes:{application.__name__}"], cwd=ROOT / "docs", stderr=subprocess.PIPE, text=True
    )
    try:
        port = int(re.search(r":(\d+)/", server.stderr.readline())[1])
        durations, stop = [], threading.Event()
        files = threading.Thread(target=fetch_files, args=(port, durations, stop))
        files.start()
        load = ["ab", "-q", "-k", "-c", CLIENTS, "-t", SECONDS, "-n", 1_000_000, f"http://127.0.0.1:{port}/"]
        report = subprocess.run([str(word) for word in load], capture_output=True, text=True, check=True).stdout
        stop.set()
        files.join()
    finally:
        server.terminate()
        server.communicate()
    rate = float(re.search(r"Requests per second:\s+([0-9.]+)", report)[1])
    return rate, sorted(durations)[int(len(durations) * 0.99)] * 1000


def fetch_files(port, durations, stop):
    """Fetch a static file every 20 ms, each on a connection of its own."""
    while not stop.wait(0.02):
        begin = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/static/index.html")
        assert connection.getresponse().read()
        connection.close()
        durations.append(time.monotonic() - begin)


def main():
    applications = [answers, waits, computes]
    print("| options |", " | ".join(f"{application.__doc__} | file" for application in applications), "|")
    print("|---|" + "---:|" * (2 * len(applications)))
    for mode in MODES:
        measured = [measure(mode, application) for application in applications]
        print(f"| `{mode}` |", " | ".join(f"{rate:,.0f}/s | {late:.0f} ms" for rate, late in measured), "|", flush=True)


if __name__ == "__main__":
    main()

"""Measure ladder/rung10_files.py and files_asyncio.py with `ab`; print docs/asyncio.md's table. Takes half a minute.

Each cell is the median of three runs. When other programs share the machine, the processor time that the server itself
has used tells more than requests a second.
"""

import contextlib
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
SERVERS = {"asyncore": DOCS.parent / "ladder" / "rung10_files.py", "asyncio": DOCS / "files_asyncio.py"}
REQUESTS, RUNS = 5000, 3
LOADS = {  # what is done: (options of ab, idle connections)
    "a connection for each request": ((), 0),
    "kept connections": (("-k",), 0),
    "kept, and 1,000 idle ones": (("-k",), 1000),
}


def measure(server, options, idle):
    """Return (requests a second, microseconds of the server's processor time for each)."""
    command = [sys.executable, SERVERS[server], "--port", "0", "-r", DOCS.parent / "www"]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        stack.callback(process.terminate)
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        for _ in range(idle):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        before = processor_seconds(process.pid)
        ab = ["ab", "-q", *options, "-n", str(REQUESTS), "-c", "50", f"http://127.0.0.1:{port}/index.html"]
        report = subprocess.run(ab, capture_output=True, text=True, check=True).stdout
        assert "Failed requests:        0" in report, report
        used = processor_seconds(process.pid) - before
    return float(re.search(r"Requests per second: +([\d.]+)", report)[1]), used / REQUESTS * 1e6


def processor_seconds(pid):
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print("| | asyncore | asyncio |\n|---|---:|---:|")
    for load, (options, idle) in LOADS.items():
        # In turns, so that a busy moment of the machine meets both.
        runs = [[measure(server, options, idle) for server in SERVERS] for _ in range(RUNS)]
        cells = [
            "{:,.0f}/s, {:.0f} µs".format(*map(statistics.median, zip(*column, strict=True)))
            for column in zip(*runs, strict=True)
        ]
        print(f"| {load} | {' | '.join(cells)} |", flush=True)

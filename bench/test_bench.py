"""The harness itself: pytest bench (needs wrk; not part of the project's own tests)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cases
import measure
import run
import servers

pytestmark = pytest.mark.skipif(not servers.program("wrk"), reason="the load comes from wrk")

FORKS = "import os, time\nif os.fork() == 0:\n    while time.process_time() < 0.3: pass\n    os._exit(0)\nos.wait()\n"


def outcome_of(server, case_name):
    case = next(case for case in cases.CASES if case.name == case_name)
    outcome = run.Outcome()
    run.measure_once(case, server, 1, Path("/"), outcome)
    return outcome


def test_server_that_answers_500_now_and_then_has_no_figure():
    # HTTP/1.0 would be left out of a keep-alive case, so ask for the case that lets a connection close.
    broken = servers.Server("broken", "wsgi", servers.PYTHON, "wsgiref", servers.embedded("broken_wsgi"))
    outcome = outcome_of(broken, "stream")
    assert outcome.rounds == []
    assert "non-2xx" in outcome.failed


def test_server_that_does_not_start_tells_its_last_words():
    dying = servers.Server("dying", "wsgi", servers.PYTHON, "", lambda start: [sys.executable, "-c", "exit('no luck')"])
    assert outcome_of(dying, "hello").failed == "did not start: no luck"


def test_cpu_of_a_child_that_has_ended_is_counted():
    program = FORKS + "print(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    try:
        process.stdout.readline()
        assert sum(measure.cpu_seconds(process.pid).values()) >= 0.29
    finally:
        measure.kill(process.pid)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_no_process(signal_number):
    command = [sys.executable, "run.py", "--servers", "floor", "--cases", "hello", "--seconds", "20", "--rounds", "1"]
    process = subprocess.Popen(command, cwd=servers.BENCH, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (started := descendants(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal_number)
    _stdout, stderr = process.communicate(timeout=30)
    assert started
    assert "interrupted" in stderr
    assert not [pid for pid in started if os.path.exists(f"/proc/{pid}")]


def descendants(pid):
    """Return the floor's processes and wrk's once both run."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return found if len(found) == 2 else []

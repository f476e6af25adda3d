"""Grading a folder of submissions: the table, the pages and the CSV, whatever the submissions do."""

import contextlib
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PATIENCE, ROOT, wait_until

pytestmark = pytest.mark.slow
WRITTEN = ROOT / "tests" / "lab" / "submissions"
CHOSEN = "test_file_is_served or test_head_has_no_body or test_wsgi_content_type"
HOSTILE = {
    "bomb": """
import os, time
for _ in range(150):
    if os.fork() == 0:
        os.setsid()
        break
time.sleep(600)
""",
    "flood": """
try:
    with open("huge", "wb") as file:
        while True:
            file.write(bytes(2**20))
except OSError as error:
    print(error)
while True:
    print("x" * 1000)
""",
    "killer": """
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
""",
    "leaves-a-child": """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *sys.argv], start_new_session=True)
""",
}


class Grading(NamedTuple):
    table: dict  # student -> the rest of the line on the terminal
    rows: dict  # student -> the row of grades.csv
    pages: dict  # student -> text
    scratch: Path  # where it had its temporary files


@pytest.fixture(scope="module")
def grading(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grading")
    for name in ("perfect", "python2", "one_thread", "no_length"):
        shutil.copytree(WRITTEN / name, folder / "submissions" / name)
    for name, program in HOSTILE.items():
        (folder / "submissions" / name).mkdir()
        (folder / "submissions" / name / "httpd.py").write_text(program)
    os.mkfifo(folder / "submissions" / "one_thread" / "pipe")
    (folder / "submissions" / "one_thread" / "conftest.py").write_text("raise SystemExit('not a part of the check')")
    (folder / "submissions" / "one_thread" / "socket.py").write_text("")
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, ROOT / "tests" / "lab" / "grade.py", folder / "submissions", "--time", "6"]
    run = subprocess.run(
        [*command, "--output", folder / "grades", "--", "-k", CHOSEN],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    head, *lines = run.stdout.splitlines()
    assert head.split() == ["student", "points", "passed", "failed", "not", "run"]
    with open(folder / "grades" / "grades.csv", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    pages = {page.stem: page.read_text() for page in (folder / "grades").glob("*.md")}
    return Grading({line.split()[0]: line.split(maxsplit=1)[1].split() for line in lines}, rows, pages, scratch)


def test_every_submission_has_a_line_a_row_and_a_page(grading):
    students = ["bomb", "flood", "killer", "leaves-a-child", "no_length", "one_thread", "perfect", "python2"]
    assert list(grading.table) == list(grading.rows) == sorted(grading.pages) == students
    for student, row in grading.rows.items():
        numbers = [row[column] for column in ("points", "passed", "failed", "not run")]
        assert grading.table[student][:4] == numbers
        assert sum(map(int, numbers[1:])) == 3
        assert grading.pages[student].startswith(f"# {student}\n\n{row['points']} of 80 points: ")


def test_solution_gets_all_points(grading):
    assert grading.table["perfect"] == ["80.0", "3", "0", "0"]
    assert "Failed" not in grading.pages["perfect"]


def test_points_are_those_of_the_files_by_the_share_of_checks_passed(grading):
    assert grading.table["no_length"] == ["65.0", "2", "1", "0"]  # 40 + 25, and no async_wsgi.py
    assert "| test_files.py | 40.0 | 40 |" in grading.pages["no_length"]
    assert "| test_wsgi.py | 0.0 | 15 |" in grading.pages["no_length"]
    assert "| test_load.py | 0.0 | 0 |" in grading.pages["no_length"]


def test_page_says_what_failed_and_why(grading):
    assert "### test_wsgi.py::test_wsgi_content_type_is_the_applications\n\n    `" in grading.pages["no_length"]
    assert "can't open file" in grading.pages["no_length"]
    page = grading.pages["python2"]
    assert "SyntaxError: Missing parentheses in call to 'print'" in page
    assert page.count("ended at once with exit status 1") == 1, "the same message is shown once"


def test_files_of_a_submission_are_no_part_of_the_check(grading):
    assert "not a part of the check" not in grading.pages["one_thread"]
    assert grading.rows["one_thread"]["ended by"] == ""


def test_submission_that_starts_too_many_processes_is_ended(grading):
    assert grading.rows["bomb"]["ended by"] == "more than 100 processes"


def test_submission_that_prints_and_writes_without_end_is_ended(grading):
    assert grading.table["flood"] == ["0.0", "0", "0", "3", "time", "limit", "of", "6", "s"]
    assert "3 were not run (time limit of 6 s)" in grading.pages["flood"]


def test_submission_that_kills_the_check_gets_no_points(grading):
    assert grading.table["killer"][:4] == ["0.0", "0", "0", "3"]
    assert grading.rows["killer"]["ended by"] == "the check was killed by signal 9"


def test_nothing_is_left_of_a_submission(grading):
    running = b"\n".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert not re.findall(re.escape(os.fsencode(grading.scratch)) + b"[^\0]*", running)
    assert list(grading.scratch.iterdir()) == []


def test_nothing_is_left_when_the_grader_is_told_to_end(tmp_path):
    (tmp_path / "all" / "student").mkdir(parents=True)
    (tmp_path / "all" / "student" / "httpd.py").write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, str(ROOT / "tests/lab/grade.py"), str(tmp_path / "all"), "--output", str(tmp_path)]
    grader = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        wait_until(lambda: list(servers_below(tmp_path)), "the start of the submission")
    finally:
        grader.terminate()
    assert grader.wait(PATIENCE) == 1
    assert not list(servers_below(tmp_path))
    assert not list(tmp_path.glob("grade-*"))


def servers_below(folder):
    """Yield the command lines of all processes that serve something below *folder*."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if b"httpd.py" in words and any(word.startswith(os.fsencode(folder)) for word in words):
                yield words

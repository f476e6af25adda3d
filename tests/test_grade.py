"""Grading a folder of submissions: the table, the pages and the CSV, whatever the submissions do."""

import contextlib
import csv
import html
import json
import os
import re
import shutil
import signal
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
    folder: Path
    table: dict  # student -> the rest of the line on the terminal
    rows: dict  # student -> the row of grades.csv
    pages: dict  # file's name without .html -> text
    scratch: Path  # where it had its temporary files


def run_grader(submissions, output, *options, **environment):
    command = [sys.executable, ROOT / "tests" / "lab" / "grade.py", submissions, "--output", output, *options]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def rows_of(folder):
    with open(folder / "grades.csv", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


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
    options = ["--time", "30", "--jobs", "2", "--", "-k", CHOSEN]
    head, *lines = run_grader(folder / "submissions", folder / "grades", *options, TMPDIR=str(scratch))
    assert head.split()[:4] == ["student", "points", "passed", "failed"]
    pages = {page.stem: html.unescape(page.read_text()) for page in (folder / "grades").glob("*.html")}
    table = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    return Grading(folder, table, rows_of(folder / "grades"), pages, scratch)


def test_every_submission_has_a_line_a_row_and_a_page(grading):
    students = ["bomb", "flood", "killer", "leaves-a-child", "no_length", "one_thread", "perfect", "python2"]
    assert sorted(grading.table) == list(grading.rows) == students
    for student, row in grading.rows.items():
        assert grading.table[student].split()[0] == row["points"]
        assert f"{float(row['points']):g} of 100 points" in grading.pages[student]
        assert f'<a href="{student}.html">' in grading.pages["index"]
        counts = [row[name] for name in ("passed", "failed", "not offered", "not judged", "not run")]
        assert sum(map(int, counts)) == 3


def test_solution_gets_all_points(grading):
    assert (grading.rows["perfect"]["points"], grading.rows["perfect"]["passed"]) == ("100.0", "3")
    assert "Every check was passed." in grading.pages["perfect"]


def test_points_are_those_of_the_rules_that_were_chosen(grading):
    """The three checks stand for rules of 3, 3 and 2 points; there is no async_wsgi.py."""
    assert grading.rows["no_length"]["points"] == "75.0"


def test_page_says_what_to_mend_first_and_why(grading):
    assert "There is no async_wsgi.py" in grading.pages["no_length"]
    page = grading.pages["python2"]
    assert "Ends before it serves" in page
    assert "SyntaxError: Missing parentheses in call to 'print'" in page


def test_pages_are_in_russian_where_the_teacher_asks_for_it(tmp_path):
    shutil.copytree(WRITTEN / "python2", tmp_path / "all" / "python2")
    run_grader(tmp_path / "all", tmp_path / "grades", "--lang", "ru", "--", "-k", "test_file_is_served")
    page = (tmp_path / "grades" / "python2.html").read_text("utf-8")
    assert '<html lang="ru">' in page
    assert "<h2>Исправьте сначала это</h2>" in page
    assert "Завершается, не начав работать" in page
    assert '<a href="lab.html#file">' in page
    assert '<a id="file"></a>' in (tmp_path / "grades" / "lab.html").read_text("utf-8")


def test_what_a_submission_says_is_no_markup(tmp_path):
    (tmp_path / "all" / "<i>student").mkdir(parents=True)
    (tmp_path / "all" / "<i>student" / "httpd.py").write_text("raise ValueError('<script>alert(1)</script>')")
    run_grader(tmp_path / "all", tmp_path / "grades", "--", "-k", "test_file_is_served")
    for page in (tmp_path / "grades").glob("*.html"):
        assert "<script>alert" not in page.read_text()
        assert "<i>" not in page.read_text()
    assert "&lt;script&gt;alert(1)" in (tmp_path / "grades" / "<i>student.html").read_text()


def test_matrix_has_a_row_for_each_rule_and_for_each_of_its_checks(tmp_path):
    shutil.copytree(WRITTEN / "python2", tmp_path / "all" / "python2")
    run_grader(tmp_path / "all", tmp_path / "grades", "--", "-k", "folder_is_answered or test_file_is_served")
    page = (tmp_path / "grades" / "index.html").read_text()
    rows = re.findall(r"<tr[^>]*><th[^>]*>([^<]+)</th><td[^>]*>(\d)</td>\s*<td class=\"(\w+)\"", page)
    assert [(what, missed, key) for what, missed, key in rows] == [
        ("A file is served whole, with status 200", "1", "none"),
        ("A folder is answered with its index.html", "1", "none"),
        ("/", "1", "none"),
        ("/dir/", "1", "none"),
    ]


def test_page_of_the_lab_has_no_dead_links_and_is_there_only_if_a_page_leads_to_it(grading, tmp_path):
    lab = grading.pages["lab"]
    links = re.findall(r'href="([^"]+)"', lab)
    assert links and all(link.startswith(("https:", "#")) for link in links)
    assert "<style>" in lab and "Next:" not in lab
    cited = set(re.findall(r'href="lab.html#([\w-]+)"', "".join(grading.pages.values())))
    assert cited and cited <= set(re.findall(r'<a id="([\w-]+)">', lab))
    (tmp_path / "none").mkdir()
    run_grader(tmp_path / "none", tmp_path / "grades")
    assert [page.name for page in (tmp_path / "grades").glob("*.html")] == ["index.html"]


def test_index_marks_submissions_that_are_nearly_the_same(grading, tmp_path):
    shutil.copytree(WRITTEN / "one_thread", tmp_path / "all" / "first")
    shutil.copytree(WRITTEN / "one_thread", tmp_path / "all" / "second")
    renamed = (tmp_path / "all" / "second" / "httpd.py").read_text().replace("client", "c").replace("request", "r")
    (tmp_path / "all" / "second" / "httpd.py").write_text("# my own work\n" + renamed)
    run_grader(tmp_path / "all", tmp_path / "grades", "--", "-k", "test_file_is_served")
    assert "first, second: 100 %" in (tmp_path / "grades" / "index.html").read_text()
    assert "Nearly the same" not in grading.pages["index"]


def test_resumed_run_keeps_what_is_there_and_runs_the_rest(grading, tmp_path):
    shutil.copytree(grading.folder / "grades", tmp_path / "grades")
    kept = tmp_path / "grades" / "results" / "perfect.json"
    facts = json.loads(kept.read_text())
    kept.write_text(json.dumps(facts | {"seconds": 12345.0}))
    (tmp_path / "grades" / "results" / "python2.json").unlink()
    options = ["--resume", "--time", "30", "--", "-k", CHOSEN]
    lines = run_grader(grading.folder / "submissions", tmp_path / "grades", *options)
    rows = rows_of(tmp_path / "grades")
    assert rows["perfect"]["seconds"] == "12345.0"
    assert (tmp_path / "grades" / "results" / "python2.json").exists()
    assert len(lines) == 1 + len(rows) == 1 + len(grading.rows)


def test_files_of_a_submission_are_no_part_of_the_check(grading):
    assert "not a part of the check" not in grading.pages["one_thread"]
    assert grading.rows["one_thread"]["ended by"] == ""


def test_submission_that_starts_too_many_processes_is_ended(grading):
    assert grading.rows["bomb"]["ended by"] == "more than 100 processes"


def test_submission_that_prints_and_writes_without_end_is_ended(grading):
    assert grading.rows["flood"]["points"] == "0.0"
    assert "Does not listen on the port of --port" in grading.pages["flood"]


@pytest.mark.parametrize("seconds", ["0.1", "3"], ids=["before the first check", "in a check"])
def test_submission_whose_time_is_over_is_ended(tmp_path, seconds):
    shutil.copytree(WRITTEN / "hangs", tmp_path / "all" / "hangs")
    run_grader(tmp_path / "all", tmp_path / "grades", "--time", seconds)
    row = rows_of(tmp_path / "grades")["hangs"]
    assert (row["points"], row["ended by"]) == ("0.0", f"time limit of {seconds} s")
    page = (tmp_path / "grades" / "hangs.html").read_text()
    assert f"The check was not run to its end: time limit of {seconds} s." in page
    assert "Every check was passed." not in page


def test_submission_that_kills_the_check_gets_no_points(grading):
    assert (grading.rows["killer"]["points"], grading.rows["killer"]["not run"]) == ("0.0", "3")
    assert grading.rows["killer"]["ended by"] == "the check was killed by signal 9"


def test_nothing_is_left_of_a_submission(grading):
    running = b"\n".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert not re.findall(re.escape(os.fsencode(grading.scratch)) + b"[^\0]*", running)
    assert list(grading.scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_nothing_is_left_when_the_grader_is_told_to_end(tmp_path, number):
    for name in ("first", "second"):
        (tmp_path / "all" / name).mkdir(parents=True)
        (tmp_path / "all" / name / "httpd.py").write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, str(ROOT / "tests/lab/grade.py"), str(tmp_path / "all"), "--output", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    grader = subprocess.Popen(
        [*command, "--jobs", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # whatever we were started with
    )
    try:
        wait_until(lambda: len(list(servers_below(tmp_path))) == 2, "the start of both submissions")
    finally:
        grader.send_signal(number)
    assert grader.wait(PATIENCE) == 1
    assert not list(servers_below(tmp_path))
    assert not list(tmp_path.glob("grade-*"))
    assert (tmp_path / "index.html").exists()


def servers_below(folder):
    """Yield the command lines of all processes that serve something below *folder*."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if b"httpd.py" in words and any(word.startswith(os.fsencode(folder)) for word in words):
                yield words

"""Grade a folder of submissions with the lab check, one after the other: `python tests/lab/grade.py SUBMISSIONS/`.

Every folder in SUBMISSIONS/ is one student's: httpd.py, and async_wsgi.py and my_app.py where they have got that far.
Written are a table to the terminal and, to the folder of --output, grades.csv and a page for each student. What follows
"--" goes to pytest: `-- --ab-requests 2000`. docs/teaching.md says how points are set, and what the limits below do
not protect: run this in a container. It needs Linux.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from confine import run_confined

# Points of each file of checks. Within a file every check counts the same.
POINTS = {
    "test_files.py": 40,
    "test_wire.py": 25,
    "test_load.py": 10,
    "test_process.py": 10,
    "test_wsgi.py": 15,
}
LAB = Path(__file__).resolve().parent
MY_APP = LAB.parent.parent / "examples" / "template" / "my_app.py"
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "venv", "__pycache__")


@dataclass
class Grade:
    """What came out for one student."""

    student: str
    ended_by: str = ""  # why the check was not run to its end
    checks: list = field(default_factory=list)  # their names, "test_wire.py::test_head_has_no_body"
    results: dict = field(default_factory=dict)  # name -> what conftest.record() wrote of it

    @property
    def passed(self):
        return [name for name, result in self.results.items() if result["passed"]]

    @property
    def failed(self):
        return [name for name, result in self.results.items() if not result["passed"]]

    @property
    def not_run(self):
        return [name for name in self.checks if name not in self.results]

    def share(self, file):
        """Return the points reached in *file* and those to be had: all of POINTS, or 0 if no check of it was chosen."""
        checks = [name for name in self.checks if name.startswith(file + "::")]
        most = POINTS[file] if checks else 0
        return most * sum(name in self.passed for name in checks) / max(len(checks), 1), most

    @property
    def points(self):
        return round(sum(self.share(file)[0] for file in POINTS), 1)

    @property
    def row(self):
        return self.student, self.points, len(self.passed), len(self.failed), len(self.not_run), self.ended_by


def grade(submission, seconds, pytest_options):
    """Run the lab check on a copy of the folder *submission*, for at most *seconds*; return the Grade."""
    result = Grade(submission.name)
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as scratch:
        folder, record = Path(scratch, "submission"), Path(scratch, "record")
        try:
            shutil.copytree(submission, folder, symlinks=True, ignore=NOT_COPIED)
        except shutil.Error:
            pass  # a pipe or a device among the files; the rest has been copied
        if not (folder / "my_app.py").exists():
            shutil.copy(MY_APP, folder)
        # -P, -c and --confcutdir: no file of the submission becomes a part of the check.
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--confcutdir={LAB}"]
        command += ["-c", os.devnull, f"--rootdir={LAB}", f"--record={record}", *pytest_options, str(LAB)]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": scratch, "TMPDIR": scratch}
        with open(Path(scratch, "output"), "w") as output:
            result.ended_by = run_confined(
                command,
                seconds,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        for line in record.read_text().splitlines() if record.exists() else ():
            add(result, line)
        if not result.checks:
            sys.exit(f"The lab check itself does not run:\n{Path(scratch, 'output').read_text()[-2000:]}")
    return result


def add(grade, line):
    """Add a line of the record to *grade*; one that does not parse was cut off, or is the submission's own writing."""
    try:
        facts = json.loads(line)
        if "checks" in facts:
            grade.checks = [short(name) for name in facts["checks"]]
        elif (name := short(facts["check"])) not in grade.failed:  # a failure while cleaning up counts after a pass
            grade.results[name] = facts
    except (ValueError, KeyError, TypeError, AttributeError):
        grade.ended_by = grade.ended_by or "record damaged"


def short(name):
    """Return the *name* of a check without its folders; those in its parameters stay."""
    file, colons, check = name.partition("::")
    return file.rpartition("/")[2] + colons + check


def page(grade):
    """Return the page for the student: what failed and why, what is most often the cause first."""
    _, points, passed, failed, not_run, ended_by = grade.row
    most = sum(grade.share(file)[1] for file in POINTS)
    lines = [f"# {grade.student}", "", f"{points} of {most} points: {passed} checks passed, {failed} failed"]
    lines[-1] += f", {not_run} were not run ({ended_by or 'unknown why'})." if not_run else "."
    lines += ["", "| checks | points | of |", "|---|---|---|"]
    lines += ["| {} | {:.1f} | {} |".format(file, *grade.share(file)) for file in POINTS]
    messages = {name: grade.results[name]["message"] for name in grade.failed}
    causes = Counter(cause for text in messages.values() for cause in re.findall("Likely cause: (.*)", text))
    if causes:
        lines += [
            "",
            "## Likely causes",
            "",
            "What the answers look like from outside; the code has the last word.",
            "",
        ]
        lines += [f"- {cause} ({count} check{'s' * (count > 1)})" for cause, count in causes.most_common()]
    lines += ["", "## Failed checks"] if failed else []
    for name, message in messages.items():
        same = [other for other in messages if messages[other] == message]
        if name == same[0]:
            lines += ["", "### " + ", ".join(same[:3]) + (f" and {len(same) - 3} more" if len(same) > 3 else ""), ""]
            lines += [indented(message)]
            lines += ["", indented(output)] if (output := grade.results[name]["output"]) else []
    return "\n".join(lines) + "\n"


def indented(text):
    """Return *text* as a block of code, which nothing in it can end: it quotes what a submission has said."""
    return "\n".join("    " + line for line in text.splitlines())


def main():
    parser = argparse.ArgumentParser(
        description="Grade a folder of submissions.", epilog="After --: options for pytest."
    )
    parser.add_argument("submissions", type=Path, help="folder that has a folder for each student")
    parser.add_argument("--output", type=Path, default=Path("grades"), help="folder for the results (./grades)")
    parser.add_argument("--time", type=float, default=300, metavar="SECONDS", help="limit for each submission (300)")
    stop = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, pytest_options = parser.parse_args(sys.argv[1:stop]), sys.argv[stop + 1 :]
    students = sorted(path for path in args.submissions.iterdir() if path.is_dir() and path.name[0] != ".")
    args.output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: what runs of a submission is ended first
    width = max(map(len, [path.name for path in students] + ["student"]))
    print(f"{'student':{width}} points passed failed not run")
    with open(args.output / "grades.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "points", "passed", "failed", "not run", "ended by"])
        for submission in students:
            result = grade(submission, args.time, pytest_options)
            (args.output / f"{submission.name}.md").write_text(page(result), "utf-8", "surrogateescape")
            writer.writerow(result.row)
            file.flush()
            print("{:{width}} {:6} {:6} {:6} {:7}  {}".format(*result.row, width=width).rstrip(), flush=True)


if __name__ == "__main__":
    main()

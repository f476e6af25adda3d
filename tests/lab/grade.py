"""Grade a folder of submissions with the lab check: `python tests/lab/grade.py SUBMISSIONS/`.

Every folder in SUBMISSIONS/ is one student's: httpd.py, and async_wsgi.py and my_app.py where they have got that far.
Written are a line for each student to the terminal and, to the folder of --output, a page for each student, index.html
for the teacher, and grades.csv. What follows "--" goes to pytest: `-- --require keep-alive`. docs/teaching.md says how
points are set, and what the limits below do not protect: run this in a container. It needs Linux.
"""

import argparse
import csv
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from confine import run_confined
from messages import LANGUAGES, say, speak
from rules import ALL_OR_NOTHING, POINTS

LAB = Path(__file__).resolve().parent
MY_APP = LAB.parent.parent / "examples" / "template" / "my_app.py"
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "venv", "__pycache__")
OUTCOMES = "passed", "failed", "not offered", "not judged"
TEXTS = "sent", "got", "expected", "exception", "output"


@dataclass
class Grade:
    """What came out for one student."""

    student: str
    ended_by: str = ""  # why the check was not run to its end
    seconds: float = 0.0
    checks: dict = field(default_factory=dict)  # name ("test_wire.py::test_head_has_no_body") -> rule
    results: dict = field(default_factory=dict)  # name -> what conftest.py wrote of it

    def outcome(self, check):
        return self.results[check]["outcome"] if check in self.results else "not run"

    def count(self, outcome):
        return sum(self.outcome(check) == outcome for check in self.checks)

    def failures(self):
        return [facts for facts in self.results.values() if facts["outcome"] == "failed"]

    def share(self, rule):
        """Return the share of *rule* that was reached, 0 to 1; None if nothing of it was chosen or offered."""
        outcomes = [self.outcome(check) for check in self.checks if self.checks[check] == rule]
        judged = [outcome == "passed" for outcome in outcomes if outcome != "not offered"]
        if not judged:
            return None
        return float(all(judged)) if rule in ALL_OR_NOTHING else sum(judged) / len(judged)

    def share_of_check(self, check):
        """Return 1 for a check that was passed, 0 for any other, None if it was not chosen or offered."""
        outcome = self.outcome(check)
        return None if outcome == "not offered" or check not in self.checks else float(outcome == "passed")

    def points(self, rules=POINTS):
        """Return the points reached by *rules*, and those to be had."""
        shares = {rule: share for rule in rules if (share := self.share(rule)) is not None}
        return sum(POINTS[rule] * share for rule, share in shares.items()), sum(POINTS[rule] for rule in shares)

    @property
    def mark(self):
        """Points of 100. What was not offered counts neither way."""
        reached, most = self.points()
        return round(100 * reached / most, 1) if most else 0.0

    def row(self):
        counts = [self.count(outcome) for outcome in ("passed", "failed", "not offered", "not judged", "not run")]
        return [self.student, self.mark, *counts, round(self.seconds, 1), self.ended_by]


COLUMNS = "student", "points", "passed", "failed", "not offered", "not judged", "not run", "seconds", "ended by"


def grade(submission, seconds, pytest_options):
    """Run the lab check on a copy of the folder *submission*, for at most *seconds*; return the Grade."""
    result = Grade(submission.name)
    begin = time.monotonic()
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
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the check needs none of what else is installed
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
        for line in record.read_text("utf-8", "replace").splitlines() if record.exists() else ():
            add(result, line)
        if not (result.checks or result.ended_by):
            sys.exit(f"The lab check itself does not run:\n{Path(scratch, 'output').read_text()[-2000:]}")
    result.seconds = time.monotonic() - begin
    return result


def add(grade, line):
    """Add a line of the record to *grade*; one that does not parse was cut off, or is the submission's own writing."""
    try:
        facts = json.loads(line)
        if "checks" in facts:
            grade.checks = {short(name): rule for name, rule in facts["checks"].items() if POINTS[rule]}
        elif grade.outcome(name := short(facts["check"])) != "failed":  # a failure while cleaning up counts
            grade.results[name] = well_formed(facts, grade.checks[name])
    except (ValueError, KeyError, TypeError, AttributeError):
        grade.ended_by = grade.ended_by or say("record damaged")


def well_formed(facts, rule):
    """Return of *facts* what the pages need, each of its kind: the file they are from can be written by anybody."""
    known = {"rule": rule, "check": short(facts["check"]), "outcome": OUTCOMES[OUTCOMES.index(facts["outcome"])]}
    for kind, table in ("cause", "causes"), ("verdict", "verdicts"):
        key, values = facts.get(kind) or (None, {})
        known[kind] = (key, values) if key in LANGUAGES["en"][table] else None
    return known | {name: str(facts.get(name, "")) for name in TEXTS}


def short(name):
    """Return the *name* of a check without its folders; those in its parameters stay."""
    file, colons, check = name.partition("::")
    return file.rpartition("/")[2] + colons + check


def grade_into(file, *arguments):
    """Grade one submission, and write the Grade to *file*; runs in a process of its own, which may be told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first of them tells the others
    result = grade(*arguments)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(result)), "utf-8")
    part.rename(file)  # whole, or not there: --resume looks at it


def load(file, student):
    return (
        Grade(**json.loads(file.read_text("utf-8")))
        if file.exists()
        else Grade(student, say("the grader's process ended"))
    )


def grade_all(submissions, results, args, pytest_options):
    """Grade *submissions*, args.jobs at a time; yield each Grade as soon as it is there, those from before at once.

    results -- folder with a file for each submission that has been graded
    """
    files = {submission: results / f"{submission.name}.json" for submission in submissions}
    waiting, running = deque(), {}
    for submission in submissions:
        if args.resume and files[submission].exists():
            yield load(files[submission], submission.name)
            continue
        files[submission].unlink(missing_ok=True)
        waiting.append(submission)
    try:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                submission = waiting.popleft()
                arguments = files[submission], submission, args.time, pytest_options
                process = multiprocessing.Process(target=grade_into, args=arguments)
                process.start()
                running[process.sentinel] = process, submission
            for sentinel in multiprocessing.connection.wait(list(running)):
                process, submission = running.pop(sentinel)
                process.join()
                yield load(files[submission], submission.name)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave some of them
        for process, _submission in running.values():
            process.terminate()  # which ends what it runs of a submission
        for process, _submission in running.values():
            process.join()


def time_left(begin, done, left):
    """Return how long *left* more submissions will take after *done* since *begin*, as minutes and seconds."""
    seconds = round((time.monotonic() - begin) / done * left) if done else 0
    return f"{seconds // 60}:{seconds % 60:02}"


def parse_args(arguments):
    parser = argparse.ArgumentParser(
        description="Grade a folder of submissions.", epilog="After --: options for pytest."
    )
    parser.add_argument("submissions", type=Path, help="folder that has a folder for each student")
    parser.add_argument("--output", type=Path, default=Path("grades"), help="folder for the results (./grades)")
    parser.add_argument("--time", type=float, default=180, metavar="SECONDS", help="limit for each submission (180)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=max(cores - 1, 1), help="how many at once (the cores less one)")
    parser.add_argument("--resume", action="store_true", help="keep the results that are there from a run before")
    parser.add_argument("--lang", choices=sorted(LANGUAGES), default="en", help="language of the pages (en)")
    args = parser.parse_args(arguments)
    if not args.submissions.is_dir():
        parser.error(f"no such folder: {args.submissions}")
    if args.jobs < 1:
        parser.error("--jobs must be 1 or more")
    return args


def main():
    stop = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, pytest_options = parse_args(sys.argv[1:stop]), sys.argv[stop + 1 :]
    speak(args.lang)
    from report import Report  # its libraries are not needed to ask for --help

    students = sorted(path for path in args.submissions.iterdir() if path.is_dir() and path.name[0] != ".")
    results = args.output / "results"
    results.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: what runs of a submission is ended first
    report = Report(args.output, args.lang)
    grades, begin, width = [], time.monotonic(), max(map(len, [path.name for path in students] + ["student"]))
    print(f"{'student':{width}} points passed failed not offered, not judged, not run")
    try:
        with closing(grade_all(students, results, args, pytest_options)) as coming:
            for result in coming:
                grades.append(result)
                report.write_student(result)
                print(line_of(result, width), flush=True)
                show_progress(begin, len(grades), len(students))
    except KeyboardInterrupt:
        sys.exit("\nStopped. --resume goes on where this has ended.")
    finally:
        grades.sort(key=lambda result: result.student)
        write_csv(args.output / "grades.csv", grades)
        report.write_index(grades, args.submissions)


def line_of(result, width):
    student, mark, passed, failed, *not_counted, _seconds, ended_by = result.row()
    left_out = ", ".join(map(str, not_counted))
    return f"{student:{width}} {mark:6} {passed:6} {failed:6}      {left_out:12} {ended_by}".rstrip()


def show_progress(begin, done, count):
    if sys.stderr.isatty():
        left = f", about {time_left(begin, done, count - done)} left" if done < count else ""
        print(f"{done} of {count}{left}   ", end="\r" if left else "\n", file=sys.stderr, flush=True)


def write_csv(path, grades):
    with open(path, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(result.row() for result in grades)


if __name__ == "__main__":
    main()

"""Would the tests notice? Break the run-time code in one place at a time, and run the tests that touch it.

    python tests/mutants.py
    python tests/mutants.py --count 20 asynchttpd/http1.py

A mutant is one small change, such as "<" for "<=" or a statement left out. It is noticed if a test fails, twice in a
row: on a busy machine a test may fail once for no reason. A survivor is either a missing test or equivalent:
a change that makes no difference anybody relies on, such as a larger cache. Which one, only a reader can tell.
The same seed picks the same mutants, also in a function that has moved to another file since.
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import copy
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FILES = ["httpd.py", "async_wsgi.py", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("asynchttpd/[!_]*.py"))]
NONE_SELECTED = 5  # pytest's exit status when every test is marked slow
NOT_COPIED = (".git", ".venv", ".nox", ".pytest_cache", "__pycache__")

# The tests that touch each module, those that fail soonest first. Nothing else notices what they miss.
HANDLER = "connection limits faults freeing handler_api fairness corpus prefork"
ANSWER = "files file_faults conditional listing"
WSGI = "wsgi wsgi_threads reload"
TESTS = {
    "accesslog": "accesslog",
    "answer": WSGI,
    "async_wsgi": f"{WSGI} command_line prefork",
    "body": "limits spool connection files",
    "channel": HANDLER,
    "child": "prefork worker",
    "chunked": "http1 patterns limits",
    "companion": "status prefork",
    "command_line": "command_line files wsgi prefork",
    "conditional": "conditional files",
    "errorpage": "files",
    "files": f"{ANSWER} connection",
    "head": "limits connection corpus",
    "http1": "http1 patterns connection limits corpus",
    "httpd": f"{ANSWER} {HANDLER}",
    "ioloop": "ioloop connection fairness faults",
    "listener": "limits faults fairness connection prefork",
    "listing": "listing",
    "media": "files",
    "logs": "logs accesslog command_line",
    "loading": "names wsgi reload command_line prefork",
    "notify": "sockets",
    "parser": "sockets command_line",
    "pidfile": "sockets",
    "ports": "prefork sockets",
    "privileges": "sockets",
    "values": "command_line sockets",
    "prefork": "prefork worker command_line",
    "producers": f"connection {ANSWER} handler_api faults wsgi",
    "proxy": "proxy accesslog patterns",
    "reload": "reload",
    "running": "command_line logs accesslog files prefork",
    "scoreboard": "prefork",
    "sockets": "sockets command_line prefork",
    "status": "status",
    "statuspage": "status",
    "threads": "wsgi_threads wsgi",
    "tls": "tls",
    "worker": "worker prefork",
}

SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip
NEGATED = ast.Name | ast.Attribute | ast.Call | ast.BoolOp  # other conditions change by themselves


class Mutant(NamedTuple):
    rank: str  # decides which ones are picked
    file: str
    line: int
    before: str
    after: str
    source: str  # of the whole file


def changed(node, **fields):
    """Return a copy of *node* with other *fields*."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def variants(node):
    """Yield pairs of a part of *node* and what stands there in a mutant."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            yield node, changed(node, ops=[SWAPS[type(op)]()])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS:
            yield node, changed(node, op=SWAPS[type(op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node, node.operand
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if isinstance(test, NEGATED):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, ast.Constant(value + 1)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield node, ast.Return(ast.Constant(None))
        case ast.Assign(targets=[ast.Name(), *_]):
            return  # any test would notice that a name is missing
    if isinstance(node, ast.Expr | ast.Assign | ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue):
        yield node, ast.Pass()


def is_skipped(node):
    """Tell whether *node* says nothing about what the server does: docstrings, log lines, sizes of caches."""
    match node:
        case ast.Expr(value=ast.Constant() | ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            return True
        case ast.Call(func=ast.Attribute(attr="lru_cache")) | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
    return False


def mutants_of(file, seed):
    """Yield every Mutant of *file*."""
    source = (ROOT / file).read_bytes()
    starts = [0]  # of the lines, in bytes as ast counts
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen = collections.Counter()

    def walk(node, place):
        if is_skipped(node):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            place = node.name
        for part, other in variants(node):
            start, stop = starts[part.lineno - 1] + part.col_offset, starts[part.end_lineno - 1] + part.end_col_offset
            before, after = source[start:stop].decode(), ast.unparse(other)
            if isinstance(other, ast.expr) and not isinstance(other, ast.Constant):
                after = f"({after})"
            what = f"{seed} {place} {before} {after}"
            seen[what] += 1
            rank = hashlib.sha256(f"{what} {seen[what]}".encode()).hexdigest()
            text = (source[:start] + after.encode() + source[stop:]).decode()
            yield Mutant(rank, file, part.lineno, " ".join(before.split()), " ".join(after.split()), text)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, place)

    yield from walk(ast.parse(source), "")


def pick(files, count, seed):
    """Return *count* mutants: four of each file, the rest drawn from all."""
    every = {file: sorted(mutants_of(file, seed)) for file in files}
    picked = [mutant for mutants in every.values() for mutant in mutants[:4]]
    others = sorted(mutant for mutants in every.values() for mutant in mutants[4:])
    return sorted(picked + others[: max(count - len(picked), 0)], key=lambda mutant: (mutant.file, mutant.line))


def run_tests(folder, tests, limit, *options):
    """Run the *tests* on the copy of the project in *folder*; return (exit status or None, first failure)."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", f"--basetemp={folder}.tmp", *options]
    # Cached bytecode is told from new source by whole seconds: too coarse for us.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [*command, *tests], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # pytest then stops the servers that it has started
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, "time limit"
    failed = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return process.returncode, failed[0].partition(" - ")[0] if failed else "cannot start"


def try_mutant(mutant, limit):
    """Return the test that notices *mutant*, "" if none does."""
    with tempfile.TemporaryDirectory(prefix="mutant") as scratch:
        folder = Path(scratch, "project")
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        (folder / mutant.file).write_text(mutant.source)
        tests = [f"tests/test_{name}.py" for name in TESTS[Path(mutant.file).stem].split()]
        for _ in range(3):
            status, failed = run_tests(folder, tests, limit)
            if status in (0, NONE_SELECTED, None):
                break
            status, _ = run_tests(folder, tests, limit, "--last-failed")
            if status != 0:
                break
        return "" if status in (0, NONE_SELECTED) else failed


def main():
    parser = argparse.ArgumentParser(description="Break the code in one place at a time and see whether a test fails.")
    parser.add_argument("files", nargs="*", default=FILES, help="such as asynchttpd/http1.py (default: all)")
    parser.add_argument("--count", type=int, default=120, help="of mutants (default 120)")
    parser.add_argument("--seed", default="1", help="another one picks others (default 1)")
    parser.add_argument("--limit", type=int, default=300, help="seconds for the tests of a mutant (default 300)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at the same time (default 1)")
    args = parser.parse_args()
    mutants = pick(args.files, args.count, args.seed)
    totals, noticed = collections.Counter(mutant.file for mutant in mutants), collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for mutant, test in zip(mutants, pool.map(lambda mutant: try_mutant(mutant, args.limit), mutants), strict=True):
            noticed[mutant.file] += bool(test)
            print(f"{mutant.file}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
            print(f"    {test or 'SURVIVED'}", flush=True)
    print()
    for file in totals:
        print(f"{file:28} {noticed[file]:3} of {totals[file]:3}")
    print(f"{'all':28} {noticed.total():3} of {totals.total():3} noticed, {noticed.total() / totals.total():.0%}")


if __name__ == "__main__":
    main()

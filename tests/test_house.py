"""The rooms of the house: which file may import which, and how long it may become.

Imports run one way, async_wsgi -> httpd -> asynchttpd, and inside the package downward only: where a part needs what
stands above it, that is handed over as an argument or is a method to override.
"""

import ast
import graphlib
import sys
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = {path.stem: path for path in sorted((ROOT / "asynchttpd").glob("*.py"))}
PROGRAMS = {name: ROOT / f"{name}.py" for name in ("httpd", "async_wsgi")}

# Which other parts each part of the package may import. A new file needs a line here, so an RFC, a system interface or
# a chapter of its own.
MAY_IMPORT = {
    "__init__": set(),
    "accesslog": {"logs"},
    "answer": {"http1", "producers"},
    "body": {"chunked", "http1"},
    "channel": {"ioloop", "logs", "producers", "scoreboard"},
    "child": {"scoreboard"},
    "chunked": {"http1"},
    "companion": {"child", "scoreboard"},
    "conditional": set(),
    "errorpage": set(),
    "files": {"conditional", "http1", "media"},
    "head": {"http1"},
    "http1": set(),
    "ioloop": set(),
    "listener": {"channel", "ioloop", "logs", "scoreboard"},
    "listing": set(),
    "loading": set(),
    "logs": set(),
    "media": set(),
    "notify": set(),
    "ports": set(),
    "prefork": {"child", "companion", "scoreboard", "worker"},
    "producers": {"conditional"},
    "parser": {"logs"},
    "pidfile": set(),
    "privileges": set(),
    "proxy": set(),
    "reload": set(),
    "scoreboard": set(),
    "sockets": {"ports"},
    "status": {"scoreboard", "statuspage"},
    "statuspage": set(),
    "threads": {"answer"},
    "tls": {"channel", "producers"},
    "worker": {"scoreboard"},
}
MAY_IMPORT["values"] = {"http1", "loading", "parser", "scoreboard", "sockets"}
MAY_IMPORT["command_line"] = {"__version__", "accesslog", "parser", "values"}
MAY_IMPORT["running"] = set(MAY_IMPORT)

LONGEST_FILE = 350  # lines: more is two subjects
LONGEST_CLASS = 300
LONGEST_PROGRAM = 670  # the story from socket to last byte is read from top to bottom


def imported_by(path):
    """Return the full names that the source at *path* imports, also inside functions: "asynchttpd.http1", "os"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = f"asynchttpd.{node.module or ''}".rstrip(".") if node.level else node.module
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "asynchttpd" else {base}
    return names


def parts(names):
    """Return those of *names* that are parts of the package, without its name: "http1"."""
    return {name.split(".")[1] for name in names if name.startswith("asynchttpd.")}


@pytest.mark.parametrize("name", PACKAGE)
def test_part_imports_only_what_stands_below_it(name):
    imported = imported_by(PACKAGE[name])
    assert name in MAY_IMPORT, "a new part needs a line in MAY_IMPORT"
    assert parts(imported) <= MAY_IMPORT[name]


@pytest.mark.parametrize("name", PACKAGE)
def test_part_knows_neither_program_nor_anything_foreign(name):
    imported = {name.split(".")[0] for name in imported_by(PACKAGE[name])} - {"asynchttpd"}
    if name == "ioloop":  # whoever wants asyncore gets it from there
        imported -= {"asyncore", "asynchat"}
    assert imported <= sys.stdlib_module_names - {"asyncore", "asynchat"}


def test_programs_import_in_one_direction():
    assert "async_wsgi" not in imported_by(PROGRAMS["httpd"])
    assert "httpd" in imported_by(PROGRAMS["async_wsgi"])
    assert parts(imported_by(PROGRAMS["httpd"])) > {"http1", "ioloop"}


def test_no_part_needs_itself_to_be_imported():
    imports = {name: parts(imported_by(path)) for name, path in PACKAGE.items()}
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError
    assert {"http1", "ioloop", "prefork", "command_line"} <= set(order)


@pytest.mark.parametrize("path", [*PACKAGE.values(), *PROGRAMS.values()], ids=lambda path: path.stem)
def test_file_and_its_classes_can_be_read_at_a_sitting(path):
    text = path.read_text()
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if node.end_lineno - node.lineno >= LONGEST_CLASS] == []
    assert text.count("\n") <= (LONGEST_PROGRAM if path.stem in PROGRAMS else LONGEST_FILE)


def test_each_part_has_tests_that_notice_its_mutants():
    assert {*PACKAGE, *PROGRAMS} - {"__init__"} <= set(mutants.TESTS)
    named = {name for names in mutants.TESTS.values() for name in names.split()}
    assert named <= {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}

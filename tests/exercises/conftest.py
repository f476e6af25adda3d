"""Runs the check of an exercise on a student's file, or on the model answer; and proves that the unsolved one fails it.

A check is test_<page>.py::test_<exercise>. Its model answer is solutions/<page>_<exercise>.py. What the exercise starts
from is unsolved/<page>_<exercise>.py or, where there is none, httpd.py.
"""

import os
from pathlib import Path

import pytest
from conftest import ROOT, python_command, running_servers

HERE = Path(__file__).parent
FAILURES = (AssertionError, pytest.fail.Exception)  # a check that crashes has not looked


def pytest_addoption(parser):
    parser.addoption("--solution", type=Path, metavar="FILE", help="your answer to an exercise (choose which with -k)")


def pytest_configure(config):
    own = config.getoption("solution", None)
    if own and not (config.invocation_params.dir / own).is_file():
        raise pytest.UsageError(f"--solution: there is no file {own}")


@pytest.hookimpl(trylast=True)  # after -k
def pytest_collection_modifyitems(config, items):
    own = config.getoption("solution", None)
    if own is None or (config.invocation_params.dir / own).resolve().parent != HERE / "solutions":
        return
    for item in items:
        if "solution" in item.fixturenames and exercise_of(item) != own.stem:
            raise pytest.UsageError(
                f"--solution: {own.name} is the model answer of another exercise; -k has chosen {exercise_of(item)}"
            )


def exercise_of(item):
    """Return the name of the exercise that *item* checks: a test, or the Metafunc from which tests are made."""
    return "_".join(name.removeprefix("test_") for name in (Path(item.module.__file__).stem, item.function.__name__))


def pytest_generate_tests(metafunc):
    if "solution" in metafunc.fixturenames:
        metafunc.parametrize("solution", files_to_check(metafunc), indirect=True)


def files_to_check(metafunc):
    """Return the student's file alone or, without one, the model answer and what must not pass."""
    # Where pytest met this file too late to add options (`pytest tests`) there is no student.
    if own := metafunc.config.getoption("solution", None):
        return [pytest.param(metafunc.config.invocation_params.dir / own, id=own.name)]
    exercise = exercise_of(metafunc)
    start = HERE / "unsolved" / f"{exercise}.py"
    return [
        pytest.param(HERE / "solutions" / f"{exercise}.py", id="model"),
        pytest.param(
            start if start.exists() else ROOT / "httpd.py",
            id="unsolved",
            marks=[
                pytest.mark.slow,
                pytest.mark.xfail(strict=True, raises=FAILURES, reason="the exercise is still to be done"),
            ],
        ),
    ]


@pytest.fixture
def solution(request, tmp_path):
    """Return a function: solution("-r", folder) runs the file that is checked on a free port and returns the Server."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}  # `import httpd` wherever the file lies
    with running_servers(tmp_path) as run:
        yield lambda *options: run(
            python_command(request.param, "--port", 0, *options), cwd=ROOT, env=environ
        ).wait_started()

"""What a change has to pass: the suite on each Python, in two stricter modes, and the linter.

What follows "--" goes to pytest:

    nox                  # lint, then the tests on every Python below that is installed
    nox -s tests-3.12 -- -k head
"""

import os
import pathlib
import tempfile

import nox

nox.options.sessions = ["lint", "tests"]
# A missing Python is skipped with a message, also in CI; .ci/run says which ones ran.
nox.options.error_on_missing_interpreters = False


QUICK = ["-n", "6", "--ab-requests=2000"]  # as in the README


def run_pytest(session, *options, **env):
    """Install the project with its test extra, then run pytest with *options* and with *env* added."""
    session.install("-e", ".[test]")
    # Interrupted, pytest needs a moment to stop the servers it has started.
    session.run("python", "-m", "pytest", *options, *session.posargs, env=env, interrupt_timeout=20)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session):
    """Run the suite without what is marked slow."""
    run_pytest(session, *QUICK)


@nox.session
def full(session):
    """Run all tests, one after another, so that nothing disturbs those that make load."""
    run_pytest(session, "-m", "")


@nox.session
def optimized(session):
    """Run the suite against servers started with -O: nothing may depend on an assert.

    Only the servers get the flag. Under -O pytest itself would check nothing.
    """
    run_pytest(session, *QUICK, SERVER_PYTHON_FLAGS="-O")


@nox.session
def devmode(session):
    """Run the suite against servers in which every warning is an error."""
    run_pytest(session, *QUICK, SERVER_PYTHON_FLAGS="-X dev -W error")


@nox.session
def coverage(session):
    """Show which lines and branches of the two programs and their parts no test runs, in forked workers either."""
    session.install("-e", ".[test]", "coverage>=7.10")  # which sees os._exit()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)  # for servers that have become another user
        env = {"COVERAGE_FILE": f"{folder}/coverage"}
        command = ["coverage", "run", "-m", "pytest", *QUICK, *session.posargs]
        session.run(*command, env=env, success_codes=[0, 1], interrupt_timeout=20)
        session.run("coverage", "combine", "--quiet", env=env)
        session.run("coverage", "report", env=env)


@nox.session
def packages(session):
    """Build sdist and wheel and check both; into dist/ or the folder given after "--"."""
    session.install("build", "twine")
    (folder,) = session.posargs or ["dist"]
    session.run("python", "-m", "build", "--outdir", folder)
    session.run("twine", "check", "--strict", *(str(path) for path in pathlib.Path(folder).iterdir()))


@nox.session
def lint(session):
    """Check style and formatting."""
    session.install("ruff")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")

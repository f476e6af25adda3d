"""What a stranger gets: three names, two commands, programs that know what they were called, and a full sdist."""

import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, running_servers

from asynchttpd.ioloop import asyncore

README = (ROOT / "README.md").read_text()
PARTS = sorted((ROOT / "asynchttpd").glob("*.py"))
SERVERS = ["httpd.py", "async_wsgi.py"]
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", ".nox", ".hypothesis", ".*_cache", "__pycache__", "*.egg-info", "build", "dist"
)


def run(*command, **options):
    """Run *command*; return its standard output. Its standard error is shown when it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120, **options).stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The path of a wheel built from a copy of the checkout, so that no build/ folder stays behind in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "asynchttpd", source / "asynchttpd", ignore=NOT_OURS)
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        shutil.copy(path, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, source)
    (path,) = folder.glob("*.whl")
    return path


class Environment:
    """A new virtual environment with nothing but our wheel in it."""

    def __init__(self, folder, wheel):
        venv.create(folder)
        self.python, self.bin = folder / "bin" / "python", folder / "bin"
        (self.site,) = folder.glob("lib/python*/site-packages")
        before = self.contents()
        options = ["--quiet", "--no-index", "--no-deps", "--no-compile"]
        run(sys.executable, "-m", "pip", "--python", self.python, "install", *options, wheel)
        self.new = self.contents() - before
        # From 3.12 on asyncore is a package that pip would have to download.
        (self.site / "asyncore.pth").write_text(str(Path(asyncore.__file__).parents[1]))

    def contents(self):
        return {path.name for folder in (self.site, self.bin) for path in folder.iterdir()}


@pytest.fixture(scope="session")
def environment(tmp_path_factory, wheel):
    return Environment(tmp_path_factory.mktemp("environment"), wheel)


def test_new_environment_gets_three_names_and_two_commands(environment):
    version = run(environment.bin / "asynchttpd", "--version").split()[1].rstrip(",")
    names = {"httpd.py", "async_wsgi.py", "asynchttpd", f"asynchttpd-{version}.dist-info"}
    assert environment.new == names | {"asynchttpd-wsgi"}  # "asynchttpd" is a package, and a command


def test_installed_servers_import_nothing_from_the_checkout(environment, tmp_path):
    program = """
import json, sys, async_wsgi
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""
    imported = json.loads(run(environment.python, "-c", program, cwd=tmp_path))
    ours = {name for name in imported if name.split(".")[0] in ("httpd", "async_wsgi", "asynchttpd")}
    assert ours > {"httpd", "async_wsgi", "asynchttpd"}
    strays = [imported[name] for name in ours if not Path(imported[name]).is_relative_to(environment.site)]
    assert not strays, "the wheel lacks these modules"


def test_installed_commands_serve_a_folder_and_an_application(environment, connect, tmp_path):
    (tmp_path / "index.html").write_text("a page")
    shutil.copy(ROOT / "my_app.py", tmp_path)
    with running_servers(tmp_path) as start:
        files = start([environment.bin / "asynchttpd", "--port", "0"], cwd=tmp_path)
        application = start([environment.bin / "asynchttpd-wsgi", "my_app:application", "--port", "0"], cwd=tmp_path)
        assert connect(files.wait_started()).get("/").body == b"a page"
        assert connect(application.wait_started()).get("/").status == 200


PYTHON = Path(sys.executable).name
STARTED_AS = {
    "httpd.py": [sys.executable, ROOT / "httpd.py"],
    "async_wsgi.py": [sys.executable, ROOT / "async_wsgi.py"],
    f"{PYTHON} -m httpd": [sys.executable, "-m", "httpd"],
    f"{PYTHON} -m async_wsgi": [sys.executable, "-m", "async_wsgi"],
    "asynchttpd": None,  # in the new environment
    "asynchttpd-wsgi": None,
}


@pytest.fixture
def started_as(environment):
    """Return a function that starts a program as it is named in STARTED_AS, and returns the finished process."""

    def start(name, *arguments, application="my_app:application"):
        command = [environment.bin / name] if name.startswith("asynchttpd") else STARTED_AS[name]
        command = [*command, *([application] if "wsgi" in name else []), *arguments]
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    return start


@pytest.mark.parametrize("name", STARTED_AS)
def test_program_calls_itself_as_the_user_did(started_as, name):
    elsewhere = "192.0.2.1"  # of nobody: RFC 5737
    errors = [started_as(name, "--port", "http"), started_as(name, "--host", elsewhere, "--port", "0")]
    assert [(error.returncode, error.stdout) for error in errors] == [(2, ""), (1, "")]
    for error in errors:
        assert error.stderr.startswith(f"{name}: ")
        assert error.stderr.count("\n") == 1


@pytest.mark.parametrize("name", [name for name in STARTED_AS if "wsgi" in name])
def test_program_that_finds_no_application_calls_itself_as_the_user_did(started_as, name):
    lines = started_as(name, "--port", "0", application="no_such_module").stderr.splitlines()
    assert [line for line in lines if " Serving HTTP on " not in line] == [f"{name}: no module named 'no_such_module'"]


@pytest.mark.parametrize("name", ["httpd.py", "asynchttpd-wsgi"])
def test_version_of_us_of_python_and_of_the_system_is_one_line(started_as, wheel, name):
    system = platform.uname()
    ours, versions = wheel.name.split("-")[1], f"Python {platform.python_version()}, {system.system} {system.release}"
    assert started_as(name, "--version").stdout == f"asynchttpd {ours}, {versions} {system.machine}\n"


def test_wheel_holds_the_licence_and_nothing_but_run_time_code(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    modules = {name for name in names if ".dist-info/" not in name}
    assert modules == {"httpd.py", "async_wsgi.py", *(f"asynchttpd/{path.name}" for path in PARTS)}


def test_only_python_3_12_and_newer_need_the_backports(environment):
    (metadata,) = importlib.metadata.distributions(name="asynchttpd", path=[str(environment.site)])
    needed = {line for line in metadata.requires if "extra ==" not in line}
    assert needed == {'pyasyncore; python_version >= "3.12"', 'pyasynchat; python_version >= "3.12"'}


@pytest.mark.slow
def test_sdist_holds_every_file_of_the_checkout(tmp_path):
    """.ci/run unpacks one and runs the tests in it."""
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=NOT_OURS)
    ours = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    program = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    name = run(sys.executable, "-c", program, tmp_path, cwd=source).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert ours - held <= {".gitignore", ".gitattributes", "www/large.bin"}


@pytest.mark.parametrize("server", SERVERS)
def test_start_shows_no_deprecation_warning(server):
    result = subprocess.run([sys.executable, ROOT / server, "--help"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_readme_maps_every_file_of_run_time_code():
    table = README.partition("## The files")[2].partition("##")[0]
    mapped = set(re.findall(r"`(\w+\.py)`", table))
    assert mapped == {path.name for path in [*ROOT.glob("*.py"), *PARTS]} - {"noxfile.py", "__init__.py"}

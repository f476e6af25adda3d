"""What a stranger gets: the wheel, the command line's help, and a README that says the same."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PARTS = sorted((ROOT / "asynchttpd").glob("*.py"))
SERVERS = ["httpd.py", "async_wsgi.py"]


def run(*command, **options):
    """Run *command*; return its standard output. Its standard error is shown when it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120, **options).stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The path of a wheel built from a copy of the checkout, so that no build/ folder stays behind in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    shutil.copytree(ROOT / "asynchttpd", source / "asynchttpd", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        shutil.copy(path, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def installed(wheel, tmp_path):
    """The folder the wheel was unpacked to: all there is of our code for who imports from it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_installed_servers_import_nothing_from_the_checkout(installed, tmp_path):
    program = """
import json, sys, async_wsgi
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    imported = json.loads(run(sys.executable, "-c", program, cwd=tmp_path, env=environment))
    ours = {name for name in imported if name.split(".")[0] in ("httpd", "async_wsgi", "asynchttpd")}
    assert ours > {"httpd", "async_wsgi", "asynchttpd"}
    strays = [imported[name] for name in ours if not pathlib.Path(imported[name]).is_relative_to(installed)]
    assert not strays, "the wheel lacks these modules"


def test_wheel_holds_the_licence_and_nothing_but_run_time_code(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    modules = {name for name in names if ".dist-info/" not in name}
    assert modules == {"httpd.py", "async_wsgi.py", *(f"asynchttpd/{path.name}" for path in PARTS)}


def test_only_python_3_12_and_newer_need_the_backports(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    needed = {line for line in re.findall("^Requires-Dist: (.*)$", metadata, re.M) if "extra ==" not in line}
    assert needed == {'pyasyncore; python_version >= "3.12"', 'pyasynchat; python_version >= "3.12"'}


@pytest.mark.parametrize("server", SERVERS)
def test_start_shows_no_deprecation_warning(server):
    result = subprocess.run([sys.executable, ROOT / server, "--help"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_readme_maps_every_file_of_run_time_code():
    table = README.partition("## The files")[2].partition("##")[0]
    mapped = set(re.findall(r"`(\w+\.py)`", table))
    assert mapped == {path.name for path in [*ROOT.glob("*.py"), *PARTS]} - {"noxfile.py", "__init__.py"}

"""Options and servers of the lab check. It knows nothing of the code it checks, only command lines."""

import json
import signal

import pytest

from .server import Server, StartFailure
from .site import build_site

DEFAULTS = {
    "--httpd": "python httpd.py -r {root} -w {workers} --port {port}",
    "--wsgi": "python async_wsgi.py {app} --port {port}",
    "--ab-requests": 50000,
}
WORKERS = 4
APP = "my_app:application"


def pytest_addoption(parser):
    group = parser.getgroup("lab", "lab check of an HTTP server")
    group.addoption("--httpd", help="command of the file server, with {root} {workers} {port}")
    group.addoption("--wsgi", help="command of the WSGI server, with {app} {port}")
    group.addoption("--ab-requests", type=int, help="requests of each ab run (default 50000)")
    group.addoption("--record", help="file that gets a line of JSON for each check as soon as it has ended")


def setting(config, option):
    """Return an option's value. Where pytest met this file too late to add options (`pytest tests`): the default."""
    return config.getoption(option.strip("-").replace("-", "_"), None) or DEFAULTS[option]


def pytest_configure(config):
    # Started in the background pytest may ignore Ctrl-C, and the servers would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The document root (a Path)."""
    return build_site(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def httpd_command(request, site):
    """Return a function that makes another, not yet started Server of the file server."""
    template = setting(request.config, "--httpd")
    return lambda: Server(template, root=site, workers=WORKERS)


@pytest.fixture(scope="session")
def shared_httpd(httpd_command):
    server = httpd_command()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_wsgi(request):
    server = Server(setting(request.config, "--wsgi"), app=APP)
    yield server
    server.stop()


def lend(server, request):
    """Yield *server* running; after a failed check stop it, so that the next one meets a fresh server."""
    failure = ""
    try:
        server.running()
    except StartFailure as error:
        failure = str(error)
    if failure:  # not within the except, where pytest would show both failures
        pytest.fail(failure, pytrace=False)
    yield server
    if getattr(request.node, "has_failed", False):
        server.stop()


@pytest.fixture
def httpd(shared_httpd, request):
    """The running file server, shared by all checks that do not break it."""
    yield from lend(shared_httpd, request)


@pytest.fixture
def own_httpd(httpd_command, request):
    """A file server for one check alone, which may stop it."""
    server = httpd_command()
    yield from lend(server, request)
    server.stop()


@pytest.fixture
def wsgi(shared_wsgi, request):
    """The running WSGI server."""
    yield from lend(shared_wsgi, request)


@pytest.fixture
def ab_requests(request):
    return setting(request.config, "--ab-requests")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show beside a failed check what the server printed last, for there the traceback is; record what came out."""
    if call.excinfo and call.when == "call":
        item.has_failed = True
        for server in {value for value in item.funcargs.values() if isinstance(value, Server) and value.process}:
            text = f"`{server.command}` printed last:\n{server.output.last_lines()}"
            item.add_report_section("call", "from the server", text)
    report = yield
    if report.failed or report.when == "call":
        said = [text for title, text in report.sections if "from the server" in title]
        record(item.config, check=item.nodeid, passed=report.passed, message=report.longreprtext, output="".join(said))
    return report


def record(config, **facts):
    """Add a line to the file of --record: first the names of all checks, then what came out of each."""
    if path := config.getoption("record", None):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def pytest_collection_finish(session):
    record(session.config, checks=[item.nodeid for item in session.items])

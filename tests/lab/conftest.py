"""Options and servers of the lab check. It knows nothing of the code it checks, only command lines."""

import json
import signal
from contextlib import contextmanager

import pytest

from .clients import CheckFailed, Named, TooLong
from .first_look import look_at_application, look_at_files
from .messages import LANGUAGES, describe, say, speak
from .rules import OPTIONAL, POINTS
from .server import Server, StartFailure, wait_until
from .site import build_site

DEFAULTS = {
    "--httpd": "python httpd.py -r {root} -w {workers} --port {port}",
    "--wsgi": "python async_wsgi.py {app} --port {port}",
    "--ab-requests": 5000,
    "--require": [],
    "--lang": "en",
}
WORKERS = 4
APP = "my_app:application"
MOST_SECONDS = 14  # of one check


class NotOffered(pytest.skip.Exception):
    """HTTP leaves it to the server, and this one does without."""


class NotJudged(pytest.skip.Exception):
    """The first look has found why nothing more can be said."""


def pytest_addoption(parser):
    group = parser.getgroup("lab", "lab check of an HTTP server")
    group.addoption("--httpd", help="command of the file server, with {root} {workers} {port}")
    group.addoption("--wsgi", help="command of the WSGI server, with {app} {port}")
    group.addoption("--ab-requests", type=int, help="requests of each ab run (default 5000)")
    group.addoption("--require", action="append", choices=sorted(OPTIONAL), help="rule that is not left to the server")
    group.addoption("--lang", choices=sorted(LANGUAGES), help="language of the messages (default en)")
    group.addoption("--record", help="file that gets a line of JSON for each check as soon as it has ended")


def setting(config, option):
    """Return an option's value. Where pytest met this file too late to add options (`pytest tests`): the default."""
    return config.getoption(option.strip("-").replace("-", "_"), None) or DEFAULTS[option]


def pytest_configure(config):
    speak(setting(config, "--lang"))
    config.addinivalue_line("markers", "rule(anchor): the rule of the lab that a check belongs to (rules.py)")
    # Started in the background pytest may ignore Ctrl-C, and the servers would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def rule_of(item):
    """Return the anchor of the rule that the check *item* belongs to."""
    rule = item.get_closest_marker("rule").args[0]
    assert rule in POINTS, rule
    return rule


class Program:
    """One of the two programs under test: its server, and what the first look at it has found.

    look -- function that returns the Verdict on a running server, or None
    """

    def __init__(self, server, look):
        self.server, self.look = server, look
        self.looked, self.failure = False, None

    def check_first(self):
        """Raise the verdict of the first look, and for all checks that follow NotJudged."""
        if self.failure:
            raise NotJudged(f"not judged: {self.failure.verdict.key}")
        if not self.looked:
            self.looked, self.failure = True, self.first_look()
            if self.failure:
                raise self.failure

    def first_look(self):
        """Return the verdict as a CheckFailed, None when there is nothing to stop for."""
        server = self.server
        try:
            server.running()
        except StartFailure as failure:
            return not_started(failure, server, Named(*failure.verdict))
        if found := self.look(server):
            return CheckFailed(found.sent, found.got, say("200 and the page"), verdict=Named(found.key), server=server)
        return None


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The document root (a Path)."""
    return build_site(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def httpd_command(request, site):
    """Return a function that makes another, not yet started Server of the file server."""
    template = setting(request.config, "--httpd")
    return lambda workers=WORKERS: Server(template, root=site, workers=workers)


@pytest.fixture(scope="session")
def httpd_program(httpd_command):
    program = Program(httpd_command(), look_at_files)
    yield program
    program.server.stop()


@pytest.fixture(scope="session")
def wsgi_program(request):
    program = Program(Server(setting(request.config, "--wsgi"), app=APP), look_at_application)
    yield program
    program.server.stop()


def not_started(failure, server, verdict=None):
    sent, expected = say("nothing, only started the server"), say("a server that listens on the port of --port")
    return CheckFailed(sent, failure, expected, verdict=verdict, server=server)


def lend(server, request):
    """Yield *server* running; after a failed check stop it if it may be hurt, so that the next meets a fresh one."""
    failure = None
    try:
        server.begin_check()
    except StartFailure as error:
        failure = error
    if failure:  # not within the except, where pytest would show both failures
        raise not_started(failure, server)
    yield server
    if getattr(request.node, "has_failed", False) and server.may_be_hurt:
        server.stop()


@pytest.fixture
def httpd(httpd_program, request):
    """The running file server, shared by all checks that do not break it."""
    httpd_program.check_first()
    yield from lend(httpd_program.server, request)


@pytest.fixture
def own_httpd(httpd_program, httpd_command, request):
    """A file server for one check alone, which may stop it."""
    httpd_program.check_first()
    server = httpd_command()
    yield from lend(server, request)
    server.stop()


@pytest.fixture
def wsgi(wsgi_program, request):
    """The running WSGI server."""
    wsgi_program.check_first()
    yield from lend(wsgi_program.server, request)


@pytest.fixture
def not_offered(request):
    """A function that ends a check of what HTTP leaves to the server, unless --require asks for it."""

    def end_check(why):
        if rule_of(request.node) not in setting(request.config, "--require"):
            raise NotOffered(f"not offered: {why}")

    return end_check


@pytest.fixture
def ab_requests(request):
    return setting(request.config, "--ab-requests")


@contextmanager
def at_most(seconds):
    """Raise TooLong in the block after *seconds*."""

    def too_long(_number, _frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with at_most(MOST_SECONDS):
        try:
            return (yield)
        except TooLong:
            for server in servers_of(item):
                server.may_be_hurt = True
            limit = say("no end after {seconds} s", seconds=MOST_SECONDS)
            raise CheckFailed(say("what this check sends"), limit, say("its answers within seconds")) from None


def servers_of(item):
    return [value for value in item.funcargs.values() if isinstance(value, Server)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Make a failure a text for students, with what the server printed last; record what came out."""
    report = yield
    failure = call.excinfo and call.excinfo.value
    if call.when == "call":
        item.has_failed = report.failed
    if report.when != "call" and report.passed:
        return report
    facts = {"check": item.nodeid, "rule": rule_of(item), "outcome": report.outcome}
    if isinstance(failure, CheckFailed):
        facts |= facts_of(failure, [failure.server] if failure.server else servers_of(item))
        language = setting(item.config, "--lang")
        report.longrepr = describe(facts, language)
        if facts["output"]:
            report.sections.append((LANGUAGES[language]["headings"]["output"], facts["output"]))
    elif report.skipped:
        facts |= {"outcome": "not offered" if isinstance(failure, NotOffered) else "not judged", "got": str(failure)}
    elif report.failed:
        facts |= {"got": report.longreprtext}
    record(item.config, **facts)
    return report


def facts_of(failure, servers):
    """Return what there is to say of *failure*, ready for JSON."""
    facts = {name: getattr(failure, name) for name in ("sent", "got", "expected", "cause", "verdict")}
    if not failure.answered:  # so there may be a traceback on its way
        wait_until(lambda: any(server.exception() for server in servers), 0.3)
    exceptions = [str(exception) for server in servers if (exception := server.exception())]
    output = [server.output.last_lines() for server in servers if server.output]
    return facts | {"exception": "".join(exceptions[:1]), "output": "\n".join(output)}


def record(config, **facts):
    """Add a line to the file of --record: first all checks with their rules, then what came out of each."""
    if path := config.getoption("record", None):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def pytest_collection_finish(session):
    lab = [item for item in session.items if item.get_closest_marker("rule")]
    record(session.config, checks={item.nodeid: rule_of(item) for item in lab})

"""The lab check itself: each typical mistake is caught by the checks that name it and by no other, with its cause.

tests/broken/ holds a plain solution of the lab, right at every point, and servers that each break it in one. The lab
check runs against each of them in a pytest of its own; what failed there, and the causes named, are compared with what
should have.
"""

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab.messages import ENGLISH, PAGES, RUSSIAN, SENTENCES
from lab.rules import PARTS, POINTS

CHECKOUT = Path(__file__).parent.parent
BROKEN = CHECKOUT / "tests" / "broken"
FILES, WSGI = ["tests/lab", "--ignore=tests/lab/test_wsgi.py"], ["tests/lab/test_wsgi.py"]

# Server -> {rule that must fail: the cause that must be named}. All other rules pass, and no other cause is named.
MISTAKES = {
    # Heads and lengths
    "no_content_length": {"empty": "no-length", "content-length": "no-length", "head": "no-length"},
    "keep_alive_without_length": dict.fromkeys(
        ["empty", "content-length", "head", "load", "keep-alive", "pipelining"], "keep-alive-without-length"
    ),
    "length_in_characters": {"content-length": "length-in-characters"},
    "bytes_after_body": dict.fromkeys(["content-length", "keep-alive", "pipelining", "large"], "bytes-after-body"),
    "date_local": {"date": "date-local"},
    "date_stands": {"date": "date-stands"},
    # From the target to the file
    "never_decodes": {"escapes": "never-decodes"},
    "decoded_twice": {"escapes": "decodes-twice"},
    "decoded_too_late": {"root": "decodes-too-late"},
    "slash_raises": {"slash": "slash-raises"},
    "root_unchecked": {"root": "root-unchecked"},
    "root_startswith": {"root": "root-startswith"},
    "handout_normalize": {"dots": "dots-cut", "normalize": "normalize-hangs"},
    # Methods
    "body_on_head": {"head": "body-on-head"},
    "missing_handler": dict.fromkeys(["methods", "post", "body"], "missing-handler"),
    # Bytes
    "text_mode": {"bytes": "text-mode", "large": "text-mode", "first-byte": "reads-whole-file"},
    "sends_all_again": {"large": "sends-again", "first-byte": "reads-whole-file"},
    "forgets_the_rest": {"large": "short-send", "first-byte": "reads-whole-file"},
    "reads_first_part": {"large": "reads-first-part"},
    "reads_whole_file": {"first-byte": "reads-whole-file"},
    # Connections
    "header_case": {"close": "header-case"},
    "handle_close_overridden": {"close": "handle-close", "load": "handle-close"},
    "promises_keep_alive": dict.fromkeys(["keep-alive", "pipelining", "load"], "promises-keep-alive"),
    "pipelined_mixed": {"pipelining": "pipelined-mixed"},
    # Clients that behave badly
    "blocking_read": {"half-requests": "blocking-read"},
    "blocking_write": {"slow-readers": "blocking-write", "first-byte": "reads-whole-file"},
    # Load and processes
    "short_queue": {"queue": "short-queue"},
    "binds_in_every_worker": {"workers": "socket-not-shared"},
    "target_called": {"workers": "target-called"},
    "workers_ignored": {"workers": "workers-ignored"},
    "workers_doubled": {"workers": "workers-doubled"},
    "no_reuse_addr": {"restart": "no-reuse-addr"},
    "prints_per_request": {"output": "output-blocks"},
}
# These may break more than one thing on a slow machine, but never name another cause.
AT_LEAST = {
    "repr_of_bytes": {
        **dict.fromkeys(
            [
                "file",
                "index",
                "nested",
                "empty",
                "escapes",
                "query",
                "dots",
                "content-length",
                "head",
                "bytes",
                "large",
            ],
            "repr-of-bytes",
        ),
        "first-byte": "reads-whole-file",
    },
    "quadratic": {"first-byte": "quadratic"},
    "dies_of_a_reset": {"clients-that-leave": "ends-when-clients-leave"},
}
# What fails or not with the same mistake, as bytes happen to be read together; if it does, this is the cause.
SOMETIMES = {
    "bytes_after_body": {"load": "bytes-after-body"},  # ab: some 200 of 3,000 bodies have another length
}
WSGI_MISTAKES = {
    "wsgi_loses_headers": {"wsgi-headers": "wsgi-headers-lost"},
    "wsgi_body_on_head": {"wsgi-head": "body-on-head"},
    "wsgi_keep_alive_without_length": dict.fromkeys(["wsgi-hello", "wsgi-again"], "keep-alive-without-length"),
}
# What the first look finds; nothing else is judged then.
VERDICTS = {
    "never_starts": "does-not-start",
    "listens_elsewhere": "does-not-listen",
    "silent": "does-not-answer",
    "ends_at_first_request": "ends-at-first-request",
    "same_page": "same-page",
    "ignores_root": "ignores-root",
    "head_without_end": "head-without-end",
    "head_without_end_or_length": "head-without-end",
    "no_such_program": "missing-program",
}
# Beside its workers, what only the handout demands: lighttpd serves /page.html/ and a file for POST.
WRAPPED = {"nginx": {"workers"}, "lighttpd": {"workers", "slash", "methods", "post"}}
slow = pytest.mark.slow
JOBS = len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 2


def lab_check(record, *arguments, **environment):
    """Run the lab check in a process of its own; return the facts of each check, as they stand in *record*."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", f"--record={record}"]
    run = subprocess.run(
        [*command, "--ab-requests=300", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert run.returncode in (0, 1), run.stdout
    first, *facts = map(json.loads, record.read_text().splitlines())
    assert {fact["check"] for fact in facts} == first["checks"].keys()
    return facts


@pytest.fixture(scope="module")
def check_broken(request, tmp_path_factory):
    """Return a function that runs the lab check on a broken server, once for all tests.

    What the tests to come will ask for is run first, a few at once: a check mostly waits.
    """
    folder = tmp_path_factory.mktemp("lab-check")

    @functools.cache
    def run(name, *options):
        return lab_check(folder / name, *command_for(name), *options)

    params = [item.callspec.params for item in request.session.items if "check_broken" in item.fixturenames]
    names = dict.fromkeys(values["name"] for values in params if "chosen" not in values)
    if not hasattr(request.config, "workerinput"):  # with pytest-xdist, each worker has its share of them
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(run, names))
    return run


def command_for(name):
    """Return the files and options of the lab check that fit the server *name*."""
    if name == "http.server":
        return *FILES, "--httpd", "python -m http.server -d {root} {port}"
    if name in WRAPPED:
        return *FILES, "--httpd", f"python tests/broken/wrapped.py {name} -r {{root}} -w {{workers}} --port {{port}}"
    if name.startswith("wsgi_"):
        return *WSGI, "--wsgi", f"python tests/broken/{name}.py {{app}} --port {{port}}"
    return *FILES, "--httpd", f"python tests/broken/{name}.py -r {{root}} -w {{workers}} --port {{port}}"


def failures(facts):
    """Return {rule: {cause}} of what failed; the cause is None where none is certain."""
    found = {}
    for fact in facts:
        if fact["outcome"] == "failed":
            print(fact["rule"], fact.get("sent"), fact["got"], sep=": ")  # shown if the test fails
            assert "sent" in fact, fact["got"]  # an error of the check itself
            found.setdefault(fact["rule"], set()).add(fact["cause"] and fact["cause"][0])
    return found


def expected(causes):
    return {rule: {cause} for rule, cause in causes.items()}


@slow
@pytest.mark.parametrize("name", ["plain"])
def test_plain_solution_passes_every_check(check_broken, name):
    facts = check_broken(name)
    assert failures(facts) == {}
    assert Counter(fact["outcome"] for fact in facts)["not offered"] == 1  # Last-Modified


@slow
@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_caught_and_named_and_nothing_else_is(check_broken, name):
    sometimes = expected(SOMETIMES.get(name, {}))
    assert {**sometimes, **failures(check_broken(name))} == {**sometimes, **expected(MISTAKES[name])}


@slow
@pytest.mark.parametrize("name", AT_LEAST)
def test_mistake_that_slows_the_machine_is_named_and_no_other(check_broken, name):
    found = failures(check_broken(name))
    for rule, cause in AT_LEAST[name].items():
        assert cause in found[rule]
    assert set().union(*found.values()) <= {None, *AT_LEAST[name].values()}


@slow
@pytest.mark.parametrize("name", WSGI_MISTAKES)
def test_wsgi_mistake_is_caught_and_named_and_nothing_else_is(check_broken, name):
    assert failures(check_broken(name)) == expected(WSGI_MISTAKES[name])


@pytest.mark.parametrize(
    ("name", "chosen", "causes"),
    [
        ("root_startswith", "outside_the_root", {"root": "root-startswith"}),
        ("wsgi_loses_headers", "content_type or hello", {"wsgi-headers": "wsgi-headers-lost"}),
    ],
)
def test_mistake_is_named_by_the_checks_that_it_concerns(check_broken, name, chosen, causes):
    assert failures(check_broken(name, "-k", chosen)) == expected(causes)


QUICK = "same_page", "ends_at_first_request"


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else slow) for name in VERDICTS])
def test_first_look_says_once_what_is_wrong_and_nothing_else_is_judged(check_broken, name):
    first, *others = check_broken(name)
    assert (first["outcome"], first["verdict"][0]) == ("failed", VERDICTS[name])
    assert {fact["outcome"] for fact in others} == {"not judged"}


@pytest.mark.parametrize("name", ["ends_at_first_request"])
def test_exception_is_quoted_with_its_place(check_broken, name):
    line = 1 + (BROKEN / "ends_at_first_request.py").read_text().splitlines().index(
        "        return self.no_such_attribute"
    )
    first = check_broken(name)[0]
    assert first["exception"].startswith("AttributeError: ")
    assert first["exception"].endswith(f" (ends_at_first_request.py, line {line})")


@slow
@pytest.mark.parametrize("name", ["never_starts"])
def test_exception_at_the_start_is_quoted(check_broken, name):
    exception = check_broken(name)[0]["exception"]
    assert exception == "ModuleNotFoundError: No module named 'no_such_module' (never_starts.py, line 3)"


# Rules, points and messages


def test_rules_have_a_hundred_points_a_text_and_a_check_each():
    assert sum(POINTS.values()) == 100
    assert ENGLISH["rules"].keys() == POINTS.keys()
    assert ENGLISH["parts"].keys() == PARTS.keys()
    checks = "".join(path.read_text() for path in (CHECKOUT / "tests" / "lab").glob("test_*.py"))
    assert set(re.findall(r'@rule\("([\w-]+)"\)', checks)) == POINTS.keys()


@pytest.mark.parametrize("page", PAGES.values())
def test_page_of_the_lab_has_each_rule_under_its_anchor_with_its_points(page):
    rows = re.findall(r'^\| <a id="([\w-]+)"></a>`\1` \| .+ \| (\d+) \|$', (CHECKOUT / page).read_text(), re.M)
    assert [(rule, int(points)) for rule, points in rows] == list(POINTS.items())


def test_every_cause_says_whether_it_was_seen_or_confirmed_and_is_used():
    code = "".join(path.read_text() for path in (CHECKOUT / "tests" / "lab").glob("*.py") if path.name != "messages.py")
    for key, (_what, _mend, shown) in ENGLISH["causes"].items():
        assert shown.startswith(("Seen: ", "Confirmed: ")), key
        assert f'"{key}"' in code, key


def sentences(table, *keys):
    """Yield (path of keys, text) for each sentence of a table of messages."""
    if isinstance(table, str):
        yield keys, table
    else:
        for key, value in table.items() if isinstance(table, dict) else enumerate(table):
            yield from sentences(value, *keys, key)


def test_no_message_lacks_its_translation():
    english, russian = dict(sentences(ENGLISH)), dict(sentences(RUSSIAN))
    assert russian.keys() == english.keys()
    for keys, text in russian.items():
        assert re.findall(r"\{\w.*?\}", text) == re.findall(r"\{\w.*?\}", english[keys]), keys
        assert re.search("[а-яё]", text) or text == "WSGI", keys


LAB_FILES = sorted((CHECKOUT / "tests" / "lab").glob("*.py"))


def calls_in(path):
    """Yield (name, node) of each call of a plain name in the source at *path*."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node


def test_no_sentence_of_the_check_lacks_its_translation():
    said = {node.args[0].value for path in LAB_FILES for name, node in calls_in(path) if name == "say"}
    assert said == SENTENCES.keys()
    for english, russian in SENTENCES.items():
        assert sorted(re.findall(r"\{\w.*?\}", russian)) == sorted(re.findall(r"\{\w.*?\}", english))
        assert re.search("[а-яё]", russian), english


@pytest.mark.parametrize("path", LAB_FILES, ids=lambda path: path.name)
def test_check_words_nothing_but_by_say(path):
    """What a check sent, got and expected is from say(), or a request, a field or a status as it is sent."""
    for name, node in calls_in(path):
        for keyword in node.keywords if name == "check" else ():
            if keyword.arg in ("sent", "got", "expected"):
                assert not words_outside_of_say(keyword.value), ast.unparse(keyword.value)


def words_outside_of_say(node):
    if isinstance(node, ast.Call):
        return []
    if isinstance(node, ast.Constant):
        return re.findall(r"\b[a-z]{2,}\b", re.sub(r"/\S*|`[^`]*`", "", str(node.value)))
    return [word for child in ast.iter_child_nodes(node) for word in words_outside_of_say(child)]


def test_check_speaks_russian(tmp_path):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", CHECKOUT / "tests" / "lab", "--lang", "ru"]
    run = subprocess.run([*command, "-k", "test_file_is_served"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert "Отправлено: ничего, сервер только запущен\n" in run.stdout
    assert re.search("^Пришло: `.*`: такого файла нет$", run.stdout, re.M)
    assert "Ожидалось: сервер, который слушает порт, заданный в --port\n" in run.stdout
    assert "Причина: Нет файла httpd.py\n" in run.stdout
    assert "Правило: Файл отдаётся целиком, со статусом 200 (docs/lab.ru.md#file)\n" in run.stdout


# Servers of the field: taste is not a fault


@slow
@pytest.mark.parametrize("name", ["http.server"])
def test_http_server_loses_points_only_for_what_the_lab_demands(check_broken, name):
    facts = check_broken(name)
    found = failures(facts)
    found.pop("content-type", None)  # it asks the tables of this machine
    assert found.keys() == {"no-index", "methods", "post", "malformed", "queue", "workers"}
    assert {fact["rule"] for fact in facts if fact["outcome"] == "not offered"} == {"keep-alive", "pipelining"}


@slow
@pytest.mark.parametrize("name", WRAPPED)
def test_mature_server_gets_full_points(check_broken, name):
    """But for the row of the workers, and what only the handout demands."""
    if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip(f"{name} is not installed")
    assert failures(check_broken(name)).keys() <= WRAPPED[name]


@slow
def test_what_is_not_offered_is_a_failure_where_it_is_required(tmp_path):
    command = [*command_for("http.server"), "-k", "kept_connection or http_1_0_keep_alive or pipelined"]
    offered = lab_check(tmp_path / "one", *command)
    required = lab_check(tmp_path / "two", *command, "--require", "keep-alive")
    assert {fact["rule"]: fact["outcome"] for fact in offered} == {
        "keep-alive": "not offered",
        "pipelining": "not offered",
    }
    assert {fact["rule"]: fact["outcome"] for fact in required} == {"keep-alive": "failed", "pipelining": "not offered"}


def test_check_that_takes_too_long_is_ended_and_says_so(tmp_path):
    """A server that lets each client wait a little; the limit is turned down, so that we do not wait."""
    (tmp_path / "slow.py").write_text("""
import time, plain

class Handler(plain.Handler):
    def handle_request(self):
        time.sleep(0.1)
        super().handle_request()

plain.run(Handler)
""")
    (tmp_path / "hurry.py").write_text("""
def pytest_collection_finish(session):
    [conftest] = [plugin for plugin in session.config.pluginmanager.get_plugins() if hasattr(plugin, "MOST_SECONDS")]
    assert conftest.MOST_SECONDS == 14
    conftest.MOST_SECONDS = 1
""")
    command = f"python {tmp_path}/slow.py -r {{root}} -w {{workers}} --port {{port}}"
    options = ["-p", "hurry", "-k", "nobody_reads", "--httpd", command]
    path = f"{CHECKOUT}:{BROKEN}:{tmp_path}"
    [fact] = lab_check(tmp_path / "record", *FILES, *options, PYTHONPATH=path)
    assert (fact["outcome"], fact["got"], fact["cause"]) == ("failed", "no end after 1 s", None)


def test_missing_curl_or_ab_is_a_failure(tmp_path):
    wanted = ["tests/lab", "-k", "missing_file or ab_sees"]
    facts = lab_check(tmp_path / "record", *wanted, PATH=str(tmp_path))
    assert {fact["outcome"] for fact in facts} == {"failed"}
    assert {fact["rule"]: fact["got"] for fact in facts} == {
        "missing": "The program curl is not installed; the lab check needs it (apt install curl).",
        "load": "The program ab is not installed; the lab check needs it (apt install apache2-utils).",
    }

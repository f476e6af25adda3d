"""The lab check itself: each typical mistake is caught by the check that names it, and by no other.

tests/broken/ holds copies of our own handler, each with one such mistake. The lab check runs against each of them,
in a pytest of its own, and what failed there is compared with what should have.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parent.parent
FILES, WSGI = ["--ignore=tests/lab/test_wsgi.py"], ["tests/lab/test_wsgi.py"]

# copy of our handler -> {check that must fail: what its message must name}; all other checks must pass
MISTAKES = {
    "no_content_length": {
        "test_content_length_is_the_size_of_the_file": "no Content-Length",
        "test_empty_file_is_200_with_length_0": "Content-Length ''",
        "test_head_has_the_content_length_of_get": "Content-Length ''",
        "test_http_1_1_connection_is_kept_open": "keep-alive needs a Content-Length",
        "test_http_1_0_keep_alive_as_ab_asks_for_it": "keep-alive needs a Content-Length",
        "test_two_pipelined_requests_are_answered_in_order": "the connection was closed",
    },
    "body_on_head": {"test_head_has_no_body": "body on HEAD"},
    "sends_all_again": {
        "test_large_file_arrives_whole_and_byte_for_byte": "the whole piece was sent again, not the rest",
        "test_slow_reader_gets_the_large_file_byte_for_byte": "the whole piece was sent again, not the rest",
    },
    "forgets_the_rest": {
        "test_large_file_arrives_whole_and_byte_for_byte": "one send() was short",
        "test_slow_reader_gets_the_large_file_byte_for_byte": "one send() was short",
    },
    "decoded_too_late": {
        "test_escaped_dotdot_cannot_leave_the_root[/%2e%2e/secret.txt]": "decoded too late",
        "test_escaped_dotdot_cannot_leave_the_root[/..%2fsecret.txt]": "decoded too late",
        "test_escaped_dotdot_cannot_leave_the_root[/dir/%2E./.%2e/secret.txt]": "decoded too late",
    },
    "decoded_twice": {"test_escapes_are_decoded_only_once": "decoded twice"},
    "binds_in_every_worker": {"test_workers_share_one_listening_socket": "socket not shared"},
    "blocking_read": {"test_half_sent_requests_do_not_stop_the_next": "blocking read in the loop"},
    "text_mode": {
        "test_image_arrives_byte_for_byte[types/photo.jpg]": "text mode",
        "test_image_arrives_byte_for_byte[types/photo.jpeg]": "text mode",
        "test_image_arrives_byte_for_byte[types/drawing.png]": "text mode",
        "test_image_arrives_byte_for_byte[types/moving.gif]": "text mode",
        "test_large_file_arrives_whole_and_byte_for_byte": "text mode",
        "test_slow_reader_gets_the_large_file_byte_for_byte": "text mode",
    },
    "header_case": {"test_field_names_and_connection_options_are_read_in_any_case": "header case"},
    "short_queue": {"test_hundred_clients_fit_into_the_listen_queue": "listen(5)"},
    "prints_per_request": {"test_printing_does_not_stop_the_server_when_nobody_reads_it": "prints per request"},
}
WSGI_MISTAKES = {
    "wsgi_loses_headers": {"test_wsgi_content_type_is_the_applications": "loses the headers"},
    "wsgi_body_on_head": {"test_wsgi_head_has_no_body": "body on HEAD"},
}
# What makes everything fail is shown on a few checks: -k expression, and the same mapping.
SELECTED = {
    "keep_alive_without_length": (
        "connection_is_kept_open or folder_without_index",
        {"test_http_1_1_connection_is_kept_open": "keep-alive without length"},
    ),
    "dies_of_a_reset": (
        "reset_in_the_middle or silent_clients",
        {"test_reset_in_the_middle_of_an_answer_does_no_harm": "ends the server"},
    ),
    "never_starts": (
        "file_is_served or silent_clients",
        {
            "test_file_is_served": "ended at once with exit status 1",
            "test_silent_clients_do_not_stop_the_next": "No module named 'no_such_module'",
        },
    ),
}
HTTP_SERVER = {
    "test_folder_without_index_html_is_404": "200 OK",
    "test_method_without_a_handler_is_405[POST]": "501",
    "test_method_without_a_handler_is_405[PUT]": "501",
    "test_method_without_a_handler_is_405[DELETE]": "501",
    "test_malformed_request_is_400": "no HTTP answer",
    "test_http_1_1_connection_is_kept_open": "HTTP/1.0 200",
    "test_http_1_0_keep_alive_as_ab_asks_for_it": "the connection was closed",
    "test_two_pipelined_requests_are_answered_in_order": "the connection was closed",
    "test_workers_share_one_listening_socket": "1 processes are alive",
    "test_hundred_clients_fit_into_the_listen_queue": "only 6 connections",
    "test_printing_does_not_stop_the_server_when_nobody_reads_it": "prints per request",
}
# The most common mistakes, each with a failure that must name it as the likely cause: server, check, cause.
COMMON_MISTAKES = [
    ("no_content_length", "test_content_length_is_the_size_of_the_file", "no Content-Length"),
    ("body_on_head", "test_head_has_no_body", "body on HEAD"),
    ("forgets_the_rest", "test_large_file_arrives_whole_and_byte_for_byte", "one send() was short"),
    ("sends_all_again", "test_large_file_arrives_whole_and_byte_for_byte", "after a short send()"),
    ("blocking_read", "test_half_sent_requests_do_not_stop_the_next", "blocking read in the loop"),
    ("binds_in_every_worker", "test_workers_share_one_listening_socket", "socket not shared"),
    ("decoded_twice", "test_escapes_are_decoded_only_once", "decoded twice"),
    ("decoded_too_late", "test_escaped_dotdot_cannot_leave_the_root[/%2e%2e/secret.txt]", "decoded too late"),
    ("text_mode", "test_image_arrives_byte_for_byte[types/photo.jpg]", "text mode"),
    ("header_case", "test_field_names_and_connection_options_are_read_in_any_case", "header case"),
    ("keep_alive_without_length", "test_http_1_1_connection_is_kept_open", "keep-alive without length"),
    ("short_queue", "test_hundred_clients_fit_into_the_listen_queue", "the number given to listen(), about 5"),
    ("prints_per_request", "test_printing_does_not_stop_the_server_when_nobody_reads_it", "prints per request"),
]
# Its answer depends on the tables of this machine.
HTTP_SERVER_MAY_FAIL = {"test_content_type_follows_the_file_name[types/film.swf]"}


def copy(name):
    return f"python tests/broken/{name}.py -r {{root}} -w {{workers}} --port {{port}}"


def wsgi_copy(name):
    return f"python tests/broken/{name}.py {{app}} --port {{port}}"


def lab_check(report, *arguments, **environment):
    """Run the lab check in a process of its own; return {name of a failed check: its message} and all names."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", f"--junitxml={report}"]
    run = subprocess.run(
        [*command, "--ab-requests=300", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert run.returncode in (0, 1), run.stdout
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    failed = {}
    for case in cases:
        for problem in [*case.iter("failure"), *case.iter("error")]:
            failed[case.get("name")] = problem.get("message") + (problem.text or "")
    return failed, {case.get("name") for case in cases}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return {server: what lab_check() returned}; three run at a time, for most of it is waiting."""
    folder = tmp_path_factory.mktemp("lab-check")
    arguments = {"http.server": ["tests/lab", *FILES, "--httpd", "python -m http.server -d {root} {port}"]}
    arguments |= {name: ["tests/lab", *FILES, "--httpd", copy(name)] for name in MISTAKES}
    arguments |= {name: [*WSGI, "--wsgi", wsgi_copy(name)] for name in WSGI_MISTAKES}
    arguments |= {name: ["tests/lab", "-k", only, "--httpd", copy(name)] for name, (only, _) in SELECTED.items()}
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda name: lab_check(folder / f"{name}.xml", *arguments[name]), arguments)
        return dict(zip(arguments, results, strict=True))


def assert_caught(outcome, expected):
    failed, names = outcome
    assert failed.keys() == expected.keys(), failed
    assert expected.keys() < names
    for name, words in expected.items():
        assert words in failed[name]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_caught_by_the_check_that_names_it(outcomes, name):
    assert_caught(outcomes[name], MISTAKES[name])


@pytest.mark.parametrize(("name", "check", "cause"), COMMON_MISTAKES)
def test_common_mistake_is_named_as_the_likely_cause(outcomes, name, check, cause):
    failed, _names = outcomes[name]
    assert f"Likely cause: {cause}" in failed[check]


@pytest.mark.parametrize("name", WSGI_MISTAKES)
def test_wsgi_mistake_is_caught_by_the_check_that_names_it(outcomes, name):
    assert_caught(outcomes[name], WSGI_MISTAKES[name])


@pytest.mark.parametrize("name", ["keep_alive_without_length", "dies_of_a_reset"])
def test_fatal_mistake_is_named_and_the_next_check_meets_a_fresh_server(outcomes, name):
    assert_caught(outcomes[name], SELECTED[name][1])


def test_server_that_never_starts_fails_every_check_with_its_last_words(outcomes):
    failed, names = outcomes["never_starts"]
    assert set(failed) == names
    for name, words in SELECTED["never_starts"][1].items():
        assert words in failed[name]


def test_http_server_fails_what_it_does_not_do(outcomes):
    failed, names = outcomes["http.server"]
    unforeseen = {name: message for name, message in failed.items() if name not in HTTP_SERVER}
    assert unforeseen.keys() <= HTTP_SERVER_MAY_FAIL, unforeseen
    assert HTTP_SERVER.keys() <= failed.keys() < names
    for name, words in HTTP_SERVER.items():
        assert words in failed[name]


def test_missing_curl_or_ab_is_a_failure(tmp_path):
    wanted = ["tests/lab", "-k", "test_file_is_served or ab_sees"]
    failed, names = lab_check(tmp_path / "report.xml", *wanted, PATH=str(tmp_path))
    assert failed.keys() == names
    assert "curl is not installed" in failed["test_file_is_served"]
    assert "ab is not installed" in failed["test_ab_sees_no_failed_request[with -k]"]

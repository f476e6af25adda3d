"""Freeing cannot fail halfway: whatever closing a connection calls may raise, and still everything is given back."""

import ast

import pytest
from conftest import ROOT, wait_until

CLOSING = {  # the functions that run while a connection closes
    "asynchttpd/channel.py": ["close", "stop_counting"],
    "httpd.py": ["closed", "log_request"],
    "asynchttpd/accesslog.py": ["entry_of"],
}
# What they call, and how to make it fail. Of the rest nothing can: it is Python's own, or only reads a value.
FAILS = {
    "stop_counting": "asynchttpd.channel:Channel.stop_counting",
    "closed": "httpd:HTTPChannel.closed",
    "close_producer": "__main__:Numbers.close",
    "body.close": "asynchttpd.body:Body.close",
    "log_request": "httpd:HTTPChannel.log_request",
    "handler.client_address": "httpd:HTTPChannel.client_address",
    "access_log.write": "asynchttpd.accesslog:AccessLog.write",
}
HARMLESS = {
    "release", "list", "producer_fifo.clear", "request_head.clear", "async_chat.close", "log.isEnabledFor", "log.debug",
    "accesslog.entry_of", "Entry", "time.time", "time.monotonic", "headers.get", "os.getpid", "isinstance", "max",
}  # fmt: skip


def called_while_closing():
    """Return the names of all that is called, or handed to release(), in CLOSING."""
    names = set()
    for path, functions in CLOSING.items():
        for function in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(function, ast.FunctionDef) and function.name in functions:
                for call in ast.walk(function):
                    if isinstance(call, ast.Call):
                        released = call.args[:1] if ast.unparse(call.func) == "release" else []
                        names |= {".".join(ast.unparse(node).split(".")[-2:]) for node in [call.func, *released]}
    return {name.removeprefix("self.") for name in names}


def test_everything_that_closing_calls_is_made_to_fail_here():
    assert called_while_closing() - HARMLESS - FAILS.keys() == set()


@pytest.mark.parametrize("fails", FAILS.values())
def test_whatever_fails_while_closing_the_rest_is_given_back(serve, connect, tmp_path, fails):
    server = serve("Producing", fails=fails, access_log=str(tmp_path / "access.log"))
    server.may_complain = True
    bystander = connect(server)
    bystander.send(b"PUT /hello HTTP/1.1\r\nHost: a\r\n")  # half a head: it has had no answer, whose log may fail
    reader = connect(server, receive_buffer=4096)
    closed = tmp_path / "closed"
    reader.send(b"GET /10000000?%b HTTP/1.1\r\nHost: a\r\n\r\n" % str(closed).encode())
    assert reader.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    before = server.descriptors() - 1
    writer = connect(server)
    writer.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(2000000))
    wait_until(lambda: server.descriptors() == before + 3, "a download, an upload and its temporary file")
    reader.reset()
    writer.reset()
    expected = before + 1 if fails.endswith(("Body.close", "HTTPChannel.closed")) else before  # the file has no owner
    wait_until(lambda: server.descriptors() <= expected, "closing")
    wait_until(lambda: closed.exists() != fails.endswith("Numbers.close"), "close() of the producer")
    newcomer = connect(server)
    newcomer.send(b"PUT /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert newcomer.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    bystander.send(b"Content-Length: 2\r\n\r\nhi")
    assert bystander.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    assert any("could not clean up" in line or "failed" in line for line in server.stop())

"""From the text of an option to its value. Each function raises ArgumentTypeError if the text makes no sense."""

import argparse
import os
import re

from asynchttpd import http1, scoreboard, sockets
from asynchttpd.parser import fail, some_text

# Fields that -H cannot add: the server decides them for each answer.
OWN_FIELDS = {
    "accept-ranges", "allow", "cache-control", "connection", "content-encoding", "content-length", "content-range",
    "content-type", "date", "etag", "keep-alive", "last-modified", "location", "server", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip


def content_type(text):
    suffix, _, media_type = text.partition("=")
    if not re.fullmatch(r"\.[^./]+", suffix) or not re.fullmatch(rf"{http1.TOKEN}/{http1.TOKEN}(;[ -~]+)?", media_type):
        raise argparse.ArgumentTypeError(f"not of the form .suffix=media/type: {text!r}")
    return suffix.lower(), media_type


def extra_field(text):
    name, colon, value = text.partition(":")
    try:
        line = http1.field_line(name, value.strip())
    except ValueError:
        colon = ""
    if not colon or name.lower() in OWN_FIELDS:
        raise argparse.ArgumentTypeError(f"not a field that can be added: {text!r}")
    return line


def whole_number(text):
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}")
    return int(text)


seconds = whole_number


def positive_seconds(text):
    if whole_number(text) == 0:
        raise argparse.ArgumentTypeError(f"not a time above 0: {text!r}")
    return int(text)


def host_name(text):
    some_text(text)
    if text.count(":") == 1:
        name, _, number = text.partition(":")
        raise argparse.ArgumentTypeError(f"takes no port: say --host {name} --port {number}, or --bind {text}")
    return text


def address(text):
    try:
        sockets.split_address(text, 0)
    except sockets.Unusable as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def status_address(text):
    """Return (host, port), or the path of a Unix socket."""
    if text.startswith("unix:") and text != "unix:":
        return text.removeprefix("unix:")
    host, port = ("127.0.0.1", text) if text.isdigit() else sockets.split_address(address(text), -1)
    if port == -1:
        raise argparse.ArgumentTypeError(f"there is no port: {text!r}")
    return host, port_number(str(port))


def mode(text):
    if not re.fullmatch("0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError(f"not a mode such as 0660: {text!r}")
    return int(text, 8)


def size(text):
    """Return the bytes in "1000", "64K", "100M" or "2G"; the letters stand for powers of 1024."""
    power = "KMG".find(text[-1:].upper()) + 1 if text else 0
    return whole_number(text[:-1] if power else text) * 1024**power


def port_number(text):
    if whole_number(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return int(text)


def worker_count(text):
    if not 0 < whole_number(text) <= scoreboard.MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"not a number of workers: {text!r}")
    return int(text)


def log_level(text):
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise argparse.ArgumentTypeError(f"not a log level: {text!r}")
    return text.upper()


def current_folder():
    """Return the path of the current folder; exit if it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        fail(1, "the current folder has been deleted")


def folder(text):
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"no such folder: {text!r}")
    if not os.access(text, os.R_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"no permission to read folder {text!r}")
    return text


def app_spec(text):
    from asynchttpd import loading  # the file server has no use for it

    try:
        loading.parse_spec(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def thread_count(text):
    if whole_number(text) > 1000:
        raise argparse.ArgumentTypeError(f"not a number of threads: {text!r}")
    return int(text)


def prefix(text):
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise argparse.ArgumentTypeError(f"not a path such as /static: {text!r}")
    return text


def static_folder(text):
    path, equals, name = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"not /prefix=folder: {text!r}")
    return prefix(path), os.path.abspath(folder(name))


def network(text):
    import ipaddress

    if text == "unix":  # all clients of Unix sockets
        return text
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network: {error}") from error

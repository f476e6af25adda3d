"""The command line of both servers: what may stand there, and one line about what may not.

Not here: what is done with the options (running.py).
"""

import argparse
import functools
import math
import os
import re
import sys

from asynchttpd import __version__, accesslog, http1

# Fields that -H cannot add: the server decides them for each answer.
OWN_FIELDS = {
    "accept-ranges", "allow", "cache-control", "connection", "content-encoding", "content-length", "content-range",
    "content-type", "date", "etag", "keep-alive", "last-modified", "location", "server", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (try --help)\n")


def program_name():
    """Return what the user has typed to start us, as argparse has it from Python 3.14 on: "python -m httpd"."""
    module = sys.modules["__main__"].__spec__
    if module is None:
        return os.path.basename(sys.argv[0])
    return f"{os.path.basename(sys.executable)} -m {module.name.removesuffix('.__main__')}"


def fail(status, message):
    """Exit with *status* and one line on standard error."""
    print(f"{program_name()}: {message}", file=sys.stderr)
    sys.exit(status)


def version():
    system = os.uname()
    python = sys.version.split()[0]
    return f"asynchttpd {__version__}, Python {python}, {system.sysname} {system.release} {system.machine}"


def argument_parser(description):
    # By default argparse loads shutil, and with it three compression libraries, to learn the terminal's width.
    formatter = functools.partial(argparse.HelpFormatter, width=100)
    parser = OneLineParser(prog=program_name(), description=description, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=version(), help="show the version, and exit")
    add_socket_options(parser.add_argument_group("where it listens"))
    add_worker_options(parser.add_argument_group("workers"))
    add_file_options(parser.add_argument_group("files and answers"))
    add_limit_options(parser.add_argument_group("limits"))
    add_log_options(parser.add_argument_group("logs"))
    return parser


def add_socket_options(group):
    group.add_argument(
        "--host", "--bind", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    group.add_argument(
        "--port",
        type=port_number,
        metavar="PORT",
        default=9000,
        help="port to listen on; 0 takes a free one, and the log's first line names it (default: %(default)s)",
    )


def add_worker_options(group):
    group.add_argument(
        "-w",
        "--workers",
        type=worker_count,
        metavar="N",
        default=1,
        help="worker processes that share the port (default: %(default)s)",
    )
    group.add_argument(
        "--grace",
        type=seconds,
        metavar="SECONDS",
        default=30,
        help="time that answers under way have to end when the server stops (default: %(default)s)",
    )
    group.add_argument(
        "--replace-grace",
        type=seconds,
        metavar="SECONDS",
        default=math.inf,
        help="the same for a worker that is replaced, such as by a reload (default: no limit)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        default=30,
        help="replace a worker that has hung for so long; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--max-requests",
        type=whole_number,
        metavar="N",
        default=0,
        help="replace a worker after about N requests; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--max-rss",
        type=whole_number,
        metavar="MIB",
        default=0,
        help="replace a worker that takes more memory than this, in MiB; 0: never (default: %(default)s)",
    )


def add_file_options(group):
    group.add_argument(
        "-r", "--root", type=folder, metavar="FOLDER", default=".", help="folder to serve (default: %(default)s)"
    )
    group.add_argument(
        "--listing", action="store_true", help="list folders that have no index.html; without this they are 404"
    )
    group.add_argument(
        "--cache", type=seconds, metavar="SECONDS", help="let clients keep files for so long without asking again"
    )
    group.add_argument(
        "--hidden",
        action="store_true",
        help="also serve names that begin with a dot, even if they are secrets; without this they are 404",
    )
    group.add_argument(
        "--type",
        dest="content_types",
        metavar="'.SUFFIX=MEDIA/TYPE'",
        type=content_type,
        action="append",
        default=[],
        help="send this Content-Type for files with that suffix; may be repeated",
    )
    group.add_argument(
        "--follow-symlinks", action="store_true", help="also serve symbolic links that lead out of the root"
    )
    group.add_argument(
        "-H",
        "--header",
        dest="extra_fields",
        metavar="'NAME: VALUE'",
        type=extra_field,
        action="append",
        default=[],
        help="send this field with every answer; may be repeated",
    )


def add_limit_options(group):
    # No defaults: without these options a handler keeps its own (see httpd.py).
    group.add_argument(
        "--max-body",
        type=size,
        metavar="SIZE",
        help="refuse larger bodies of requests; in bytes, or such as 100M or 2G; 0: no limit (default: 1G)",
    )
    group.add_argument(
        "--spool-total",
        type=size,
        metavar="SIZE",
        help="disk space for the bodies of all requests together"
        " (default: a tenth of the free space, at least --max-body)",
    )
    group.add_argument(
        "--header-timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="time for the whole head of a request (default: 10)",
    )
    group.add_argument(
        "--body-timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="time without a byte of a body, or that a body may lag behind 500 bytes a second (default: 60)",
    )
    group.add_argument(
        "--idle-timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="time that a connection without a request is kept (default: 15)",
    )


def add_log_options(group):
    group.add_argument(
        "--log",
        type=log_level,
        metavar="LEVEL",
        default="info",
        help="log messages of this level and above: debug, info, warning, error, critical (default: %(default)s)",
    )
    group.add_argument("--logfile", metavar="FILE", help="append the log to this file instead of standard error")
    group.add_argument(
        "--access-log", metavar="FILE", help='append a line for each answer to this file; "-" is standard output'
    )
    group.add_argument(
        "--log-format",
        choices=accesslog.FORMATS,
        default="combined",
        help="format of the access log (default: %(default)s)",
    )


def content_type(text):
    suffix, _, media_type = text.partition("=")
    if not re.fullmatch(r"\.[^./]+", suffix) or not re.fullmatch(rf"{http1.TOKEN}/{http1.TOKEN}(;[ -~]+)?", media_type):
        raise argparse.ArgumentTypeError(f"not of the form .suffix=media/type: {text!r}")
    return suffix.lower(), media_type


def add_application_options(parser):
    parser.add_argument(
        "application", metavar="module:callable", type=app_spec, help="what to serve, such as my_app:application"
    )
    group = parser.add_argument_group("the application")
    group.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        default=0,
        help="threads of each worker for an application that waits; 0 runs it in the loop (default: %(default)s)",
    )
    group.add_argument(
        "--request-timeout",
        type=seconds,
        metavar="SECONDS",
        default=0,
        help="with --threads: answer 504 if an answer has not begun after so long; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--script-name", type=prefix, metavar="/PREFIX", help="path under which the application is mounted"
    )
    group.add_argument(
        "--static",
        type=static_folder,
        action="append",
        default=[],
        metavar="/PREFIX=FOLDER",
        help="serve the files of this folder under this path; may be repeated",
    )
    group.add_argument(
        "--trusted-proxy",
        type=network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="believe Forwarded and X-Forwarded-* from here, such as 127.0.0.1; may be repeated",
    )
    group.add_argument(
        "--reload", action="store_true", help="load the application anew when a source file changes, while you write it"
    )


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


def size(text):
    """Return the bytes in "1000", "64K", "100M" or "2G"; the letters stand for powers of 1024."""
    digits, power = text.upper(), 0
    if digits[-1:] in ("K", "M", "G"):
        digits, power = digits[:-1], "KMG".index(digits[-1]) + 1
    return whole_number(digits) * 1024**power


def port_number(text):
    if whole_number(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return int(text)


def worker_count(text):
    if not 0 < whole_number(text) <= 1000:
        raise argparse.ArgumentTypeError(f"not a number of workers: {text!r}")
    return int(text)


def log_level(text):
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise argparse.ArgumentTypeError(f"not a log level: {text!r}")
    return text.upper()


def current_folder():
    """Return its path; exit if somebody has deleted it."""
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
    from asynchttpd.loading import parse_spec

    try:
        parse_spec(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def thread_count(text):
    if whole_number(text) > 1000:
        raise argparse.ArgumentTypeError(f"not a number of threads: {text!r}")
    return int(text)


def prefix(text):
    import re

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

    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network: {error}") from error

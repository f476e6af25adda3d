"""The command line of both servers: its options, the logs, and the life of master and workers.

Not here: what is served (httpd.py, async_wsgi.py) and how processes are kept alive (prefork.py).
"""

import argparse
import faulthandler
import functools
import os
import resource
import signal
import socket
import sys

from asynchttpd import __version__, accesslog, http1, logs, prefork, scoreboard
from asynchttpd.logs import log

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
    # Left alone argparse loads shutil, and with it three compression libraries, to learn the terminal's width.
    formatter = functools.partial(argparse.HelpFormatter, width=100)
    parser = OneLineParser(prog=program_name(), description=description, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=version(), help="show the version, and exit")
    add_socket_options(parser.add_argument_group("where it listens"))
    add_worker_options(parser.add_argument_group("workers"))
    add_file_options(parser.add_argument_group("files and answers"))
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


def folder(text):
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"no such folder: {text!r}")
    if not os.access(text, os.R_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"no permission to read folder {text!r}")
    return text


def serve(args, server_class, handler, boot):
    """Serve until told to stop, then exit with status 0; with 1 if the server cannot start.

    args -- what argument_parser() has made of the command line
    server_class, handler -- classes of the listening socket and of its channels
    boot -- function(server) that each worker calls before it serves, or None
    """
    configure(handler, args)
    raise_descriptor_limit()
    try:
        server = server_class(args.host, args.port, handler)
    except OSError as error:
        fail(1, f"cannot listen on {args.host}:{args.port}: {error.strerror.partition(' (')[0]}")
    board = scoreboard.make_board(4 * args.workers)
    master = prefork.Master(
        lambda row, ready: work(server, args, board, row, boot, ready),
        args.workers,
        board,
        release=lambda: stop_listening(server),
        reopen=lambda: reopen_logs(handler),
        serving=lambda: announce(server, args),
    )
    master.grace, master.timeout = args.grace, args.timeout
    master.catch_signals()
    sys.exit(master.run())


def configure(handler, args):
    """Set the log and the knobs of *handler* from the command line."""
    try:
        logs.open_log(args.log, args.logfile)
        if args.access_log:
            handler.access_log = accesslog.AccessLog(args.access_log, args.log_format)
    except OSError as error:
        fail(1, f"cannot open {error.filename}: {error.strerror}")
    handler.root = os.path.realpath(args.root)
    handler.listing, handler.follow_symlinks = args.listing, args.follow_symlinks
    handler.extra_fields = args.extra_fields
    if args.cache is not None:
        handler.cache = f"max-age={args.cache}"


def work(server, args, board, row, boot, ready):
    """A worker's life: boot, serve, drain."""
    master = os.getppid()
    faulthandler.enable(logs.descriptor())  # shows where we are on SIGABRT and SIGSEGV
    event_map = server._map
    signal.signal(signal.SIGUSR1, lambda *_: event_map.call_soon(lambda: reopen_logs(server.handler)))
    reopen_logs(server.handler)  # a rotation between the fork and the line above has not reached us
    server.row = row
    server.siblings = [other for other in board if other is not row] if args.workers > 1 else ()
    if args.max_requests:
        import random

        server.max_requests = args.max_requests + random.randrange(args.max_requests // 10 + 1)  # not all at once
    server.max_rss = args.max_rss * 1024 * 1024
    if boot is not None:
        boot(server)
    signal.signal(signal.SIGTERM, lambda *_: event_map.call_soon(server.drain))
    event_map.every_second += [server.report, logs.tell_kept_back]
    # Killed, a master can tell nobody to leave; its place is then taken by another process.
    event_map.every_second.append(lambda: os.getppid() == master or server.drain())
    access_log = server.handler.access_log
    if access_log is not None:
        event_map.every_turn.append(access_log.flush)
    ready()
    try:
        server.serve_forever()
    finally:
        logs.tell_kept_back(all=True)
        if access_log is not None:
            access_log.close()


def stop_listening(server):
    """Let nobody else into the queue, which the workers now empty: who is in it at the end is reset."""
    server.socket.listen(0)
    server.close()


def reopen_logs(handler):
    """Go on in new files after a rotation has moved the old ones away; in the old ones if that cannot be."""
    for opened in filter(None, (logs, handler.access_log)):
        try:
            opened.reopen()
        except OSError as error:
            log.error("cannot open %s again: %s", error.filename, error.strerror)


def announce(server, args):
    """Say where the server listens, and loudly if that is more than this machine."""
    host, port = server.socket.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    plural = "" if args.workers == 1 else "s"
    what = args.application if "application" in args else f"root {server.handler.root}"
    log.info("Serving HTTP on http://%s:%d/ (%s, %d worker%s)", host, port, what, args.workers, plural)
    if not (host.startswith("127.") or host == "[::1]"):
        url = f"http://{own_address(server.socket.family) if host in ('0.0.0.0', '[::]') else host}:{port}/"
        message = f"Everybody who can reach this machine can read what is served: {url}"
        log.warning("%s", message if args.logfile else emphasised(message))


def own_address(family):
    """Return this machine's address towards other networks, as it stands in a URL. Sends nothing, asks no DNS."""
    # Connecting a UDP socket only looks up the route. The addresses are those of documentation: RFC 5737, RFC 3849.
    elsewhere, form = ("2001:db8::1", "[{}]") if family == socket.AF_INET6 else ("192.0.2.1", "{}")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return "localhost"  # no route: for now nobody else can
        return form.format(probe.getsockname()[0])


def emphasised(text):
    """Return *text* in bold yellow for a terminal (https://no-color.org)."""
    return f"\x1b[1;33m{text}\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text


def raise_descriptor_limit():
    """Allow this process, and its workers, as many descriptors as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        most = 65536 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

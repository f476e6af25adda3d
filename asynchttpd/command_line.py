"""The command line of both servers: what may stand there, and one line about what may not.

Not here: what is done with the options (running.py).
"""

import math
import os
import sys

from asynchttpd import __version__, accesslog, values
from asynchttpd.parser import Parser, Repeated


def version():
    system = os.uname()
    python = sys.version.split()[0]
    return f"asynchttpd {__version__}, Python {python}, {system.sysname} {system.release} {system.machine}"


def argument_parser(description):
    parser = Parser(description)
    parser.add_argument("--version", action="version", version=version(), help="show the version, and exit")
    add_socket_options(parser.add_argument_group("where it listens"))
    add_tls_options(parser.add_argument_group("TLS"))
    add_worker_options(parser.add_argument_group("workers"))
    add_file_options(parser.add_argument_group("files and answers"))
    add_limit_options(parser.add_argument_group("limits"))
    add_system_options(parser.add_argument_group("the system around"))
    add_log_options(parser.add_argument_group("logs"))
    return parser


def add_socket_options(group):
    group.add_argument(
        "--host",
        type=values.host_name,
        metavar="ADDRESS",
        help='address or name to listen on; "*" is every address of this machine (default: 127.0.0.1)',
    )
    group.add_argument(
        "--port",
        type=values.port_number,
        metavar="PORT",
        default=9000,
        help="port to listen on; 0 takes a free one, and the log's first line names it (default: %(default)s)",
    )
    group.add_argument(
        "--bind",
        action=Repeated,
        type=values.address,
        metavar="ADDRESS[:PORT]",
        help="listen there, such as localhost:8080 or [::1], and at --host only if you give it; may be repeated",
    )
    group.add_argument(
        "--unix",
        action=Repeated,
        metavar="PATH",
        help="listen on a Unix socket of this name, and at --host only if you give it; may be repeated",
    )
    group.add_argument(
        "--unix-mode",
        type=values.mode,
        metavar="MODE",
        default="0600",
        help="who may connect to the Unix sockets, as for chmod (default: %(default)s)",
    )


def add_tls_options(group):
    group.add_argument("--tls-cert", metavar="FILE", help="speak HTTPS with the chain of certificates in this PEM file")
    group.add_argument("--tls-key", metavar="FILE", help="its private key (default: in the file of --tls-cert)")
    group.add_argument("--tls-password-file", metavar="FILE", help="file whose first line is the password of the key")


def add_worker_options(group):
    group.add_argument(
        "-w",
        "--workers",
        type=values.worker_count,
        metavar="N",
        default=1,
        help="worker processes that share the port (default: %(default)s)",
    )
    group.add_argument(
        "--grace",
        type=values.seconds,
        metavar="SECONDS",
        default=30,
        help="time that answers under way have to end when the server stops (default: %(default)s)",
    )
    group.add_argument(
        "--drain-delay",
        type=values.seconds,
        metavar="SECONDS",
        default=0,
        help="on SIGTERM serve on for so long, while --status says 503 at /health; then stop (default: %(default)s)",
    )
    group.add_argument(
        "--replace-grace",
        type=values.seconds,
        metavar="SECONDS",
        default=math.inf,
        help="the same for a worker that is replaced, such as by a reload (default: no limit)",
    )
    group.add_argument(
        "--timeout",
        type=values.seconds,
        metavar="SECONDS",
        default=30,
        help="replace a worker that has hung for so long; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--max-requests",
        type=values.whole_number,
        metavar="N",
        default=0,
        help="replace a worker after about N requests; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--max-rss",
        type=values.whole_number,
        metavar="MIB",
        default=0,
        help="replace a worker that takes more memory than this, in MiB; 0: never (default: %(default)s)",
    )


def add_file_options(group):
    group.add_argument(
        "-r", "--root", type=values.folder, metavar="FOLDER", default=".", help="folder to serve (default: %(default)s)"
    )
    group.add_argument(
        "--listing", action="store_true", help="list folders that have no index.html; without this they are 404"
    )
    group.add_argument(
        "--cache",
        type=values.seconds,
        metavar="SECONDS",
        help="let clients keep files for so long without asking again",
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
        type=values.content_type,
        action=Repeated,
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
        type=values.extra_field,
        action=Repeated,
        help="send this field with every answer; may be repeated",
    )


def add_limit_options(group):
    # No defaults: without these options a handler keeps its own (see httpd.py).
    group.add_argument(
        "--max-body",
        type=values.size,
        metavar="SIZE",
        help="refuse larger bodies of requests; in bytes, or such as 100M or 2G; 0: no limit (default: 1G)",
    )
    group.add_argument(
        "--spool-total",
        type=values.size,
        metavar="SIZE",
        help="disk space for the bodies of all requests together"
        " (default: a tenth of the free space, at least --max-body)",
    )
    group.add_argument(
        "--header-timeout",
        type=values.positive_seconds,
        metavar="SECONDS",
        help="time for the whole head of a request (default: 10)",
    )
    group.add_argument(
        "--body-timeout",
        type=values.positive_seconds,
        metavar="SECONDS",
        help="time without a byte of a body, or that a body may lag behind 500 bytes a second (default: 60)",
    )
    group.add_argument(
        "--idle-timeout",
        type=values.positive_seconds,
        metavar="SECONDS",
        help="time that a connection without a request is kept (default: 15)",
    )


def add_system_options(group):
    group.add_argument("--user", metavar="NAME", help="become this user when the sockets are open; needs root")
    group.add_argument("--group", metavar="NAME", help="become this group (default: that of --user)")
    group.add_argument("--pid", metavar="FILE", help="write the master's process id to this file")
    group.add_argument(
        "--status",
        type=values.status_address,
        metavar="[ADDRESS:]PORT",
        help="show what the workers do at http://ADDRESS:PORT/, or at unix:PATH; /health and /metrics for machines",
    )
    group.add_argument(
        "--check", action="store_true", help="try the options, load everything, report what is wrong, and exit"
    )


def add_log_options(group):
    group.add_argument(
        "--log",
        type=values.log_level,
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


def add_application_options(parser):
    parser.add_argument(
        "application", metavar="module:callable", type=values.app_spec, help="what to serve, such as my_app:application"
    )
    group = parser.add_argument_group("the application")
    group.add_argument(
        "--threads",
        type=values.thread_count,
        metavar="N",
        default=0,
        help="threads of each worker for an application that waits; 0 runs it in the loop (default: %(default)s)",
    )
    group.add_argument(
        "--request-timeout",
        type=values.seconds,
        metavar="SECONDS",
        default=0,
        help="with --threads: answer 504 if an answer has not begun after so long; 0: never (default: %(default)s)",
    )
    group.add_argument(
        "--script-name", type=values.prefix, metavar="/PREFIX", help="path under which the application is mounted"
    )
    group.add_argument(
        "--static",
        type=values.static_folder,
        action=Repeated,
        metavar="/PREFIX=FOLDER",
        help="serve the files of this folder under this path; may be repeated",
    )
    group.add_argument(
        "--trusted-proxy",
        type=values.network,
        action=Repeated,
        metavar="NETWORK",
        help='believe Forwarded and X-Forwarded-* from here, such as 127.0.0.1, or "unix"; may be repeated',
    )
    group.add_argument(
        "--reload", action="store_true", help="load the application anew when a source file changes, while you write it"
    )

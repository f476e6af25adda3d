"""From the options to a running server: its socket, its logs, the life of master and workers.

Not here: what is served (httpd.py, async_wsgi.py) and how processes are kept alive (prefork.py).
"""

import faulthandler
import os
import resource
import signal
import socket
import sys
import time

from asynchttpd import accesslog, logs, notify, pidfile, prefork, privileges, scoreboard, sockets
from asynchttpd.companion import Companion
from asynchttpd.ioloop import EventMap
from asynchttpd.logs import log
from asynchttpd.parser import fail
from asynchttpd.values import current_folder


def serve(args, server_class, handler, boot, plain):
    """Serve until told to stop, then exit with status 0; with 1 if the server cannot start.

    args -- what command_line.argument_parser() has made of the command line
    server_class, handler -- classes of the listening socket and of its channels
    boot -- function(server) that each worker calls before it serves, or None
    plain -- classes of a listening socket and of channels that serve nothing yet: for --status
    """
    open_standard_streams()
    handler = with_tls(handler, args)
    configure(handler, args)
    load_certificate(handler, args)  # each worker does so again; what is wrong with it is said before anything is open
    raise_descriptor_limit()
    if args.check:
        check(args, server_class, handler, boot)
    try:
        listening = sockets.open_all(args.host, args.port, args.bind, args.unix, args.unix_mode)
        made = sockets.identities(args.unix)
        board = scoreboard.Board()
        status_server = open_status(args, board, *plain) if args.status else None
        status_made = sockets.identities([args.status] if isinstance(args.status, str) else [])
        pid_file = pidfile.PidFile(args.pid) if args.pid else None
        change_user(args, handler, [*made, *status_made])
    except (sockets.Unusable, pidfile.Taken, privileges.Refused) as error:
        fail(1, error)
    except OSError as error:
        fail(1, f"cannot write {error.filename}: {error.strerror}")
    server = server_class(handler=handler, sockets=listening)
    systemd = notify.Notifier()

    def release():
        stop_listening(server)
        sockets.remove_paths(made)

    master = prefork.Master(
        lambda row, ready: work(server, args, board, row, boot, ready, status_server),
        args.workers,
        board,
        release=release,
        reopen=lambda: reopen_logs(handler),
        serving=lambda: announce(server, args, status_server),
    )
    master.grace, master.replace_grace, master.timeout = args.grace, args.replace_grace, args.timeout
    master.drain_delay = args.drain_delay
    if status_server:
        master.companion = Companion(lambda row, ready: show_status(status_server, server, handler, row, ready))
    master.on_turn = lambda: tell(systemd, master, board)
    if systemd.interval:
        master.tick = min(master.tick, systemd.interval)
    master.catch_signals()
    try:
        status = master.run()
    finally:
        sockets.remove_paths(status_made)
        if pid_file:
            pid_file.remove()
    sys.exit(status)


def open_status(args, board, server_class, handler):
    """Return the server of --status, which listens already; raise sockets.Unusable."""
    from asynchttpd import status

    if isinstance(args.status, str):
        listening = [sockets.listen_on_path(args.status, args.unix_mode)]
    else:
        listening = sockets.listen_on(*args.status)
    return server_class(handler=status.status_handler(handler, board), map=EventMap(), sockets=listening)


def show_status(status_server, server, handler, row, ready):
    """The life of the process that shows what the workers do, until the master tells it to leave or has been killed."""
    server.close()  # as long as anybody holds a copy, clients join the queue
    event_map = status_server._map
    signal.signal(signal.SIGUSR1, lambda *_: event_map.call_soon(lambda: reopen_logs(handler)))
    parent, status_server.row = os.getppid(), row

    def leave():
        event_map.call_soon(lambda: [channel.close() for channel in list(event_map.values())])

    def leave_orphaned():
        # Each second, not on the SIGTERM that tells workers of it: that may come while we still are the master's child.
        if os.getppid() != parent:
            leave()

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to the whole group: /health has to say what the others do
    signal.signal(signal.SIGUSR2, lambda *_: leave())
    event_map.every_second += [status_server.report, status_server.handler.tick, logs.tell_kept_back, leave_orphaned]
    ready()
    status_server.serve_forever()
    logs.tell_kept_back(all=True)


def check(args, server_class, handler, boot):
    """Load what a worker would load, and exit: with status 0, or with one line about what is wrong."""
    server = server_class("127.0.0.1", 0, handler)
    try:
        if args.user or args.group:
            privileges.find(args.user, args.group)
        release_folder(handler.root)
        if boot is not None:
            boot(server)
    except privileges.Refused as error:
        fail(1, error)
    except Exception as error:
        fail(1, f"{type(error).__name__}: {error}")
    sys.exit(0)


def change_user(args, handler, paths):
    """Become the user and group of the options; raise privileges.Refused."""
    if args.user or args.group:
        outputs = [logs.descriptor()] if args.logfile else []
        if handler.access_log is not None and args.access_log != "-":
            outputs.append(handler.access_log.output.fd)
        privileges.drop(args.user, args.group, outputs, paths)


def with_tls(handler, args):
    """Return the class of channels that the options ask for: *handler*, or the same with TLS."""
    if not args.tls_cert:
        if args.tls_key or args.tls_password_file:
            fail(2, "--tls-key and --tls-password-file go with --tls-cert")
        return handler
    from asynchttpd import tls

    return tls.encrypted(handler)


def load_certificate(handler, args):
    """Let *handler* have the certificate as it is now in its file."""
    if args.tls_cert:
        from asynchttpd import tls

        try:
            handler.tls_context = tls.make_context(args.tls_cert, args.tls_key, args.tls_password_file)
        except tls.Unusable as error:
            fail(1, error)


def tell(systemd, master, board):
    """Tell systemd our state; called on each turn of the master."""
    if master.stopping:
        systemd.say(notify.STOPPING)
    elif master.booted:
        systemd.say(notify.RELOADING if master.is_renewing() else notify.READY)
    rows = [list(row) for row in board]
    requests, connections = (sum(row[cell] for row in rows) for cell in (scoreboard.REQUESTS, scoreboard.OPEN))
    serving = sum(row[scoreboard.STATE] == scoreboard.SERVING for row in rows)
    systemd.report(serving, connections, requests)


def open_standard_streams():
    """Open the null device for a closed stdin, stdout or stderr: else the next file that is opened takes its place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or open(0, closefd=False)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)


def configure(handler, args):
    """Set the log and the knobs of *handler* from the command line."""
    try:
        logs.open_log(args.log, args.logfile)
        if args.access_log:
            handler.access_log = accesslog.AccessLog(args.access_log, args.log_format)
    except OSError as error:
        fail(1, f"cannot open {error.filename}: {error.strerror}")
    handler.root = os.path.normpath(os.path.join(current_folder(), args.root))
    handler.listing, handler.follow_symlinks = args.listing, args.follow_symlinks
    handler.hidden, handler.content_types = args.hidden, tuple(args.content_types)
    handler.extra_fields = args.extra_fields
    if args.cache is not None:
        handler.cache = f"max-age={args.cache}"
    for name in ("max_body", "header_timeout", "body_timeout", "idle_timeout"):
        if (value := getattr(args, name)) is not None:
            setattr(handler, name, value)


def work(server, args, board, row, boot, ready, status_server=None):
    """A worker's life: boot, serve, drain."""
    if status_server:
        status_server.close()
    event_map, handler = server._map, server.handler
    os.register_at_fork(after_in_child=event_map.abandon)
    faulthandler.enable(logs.descriptor())  # shows where we are on SIGABRT and SIGSEGV
    signal.signal(signal.SIGUSR1, lambda *_: event_map.call_soon(lambda: reopen_logs(handler)))
    reopen_logs(handler)  # a rotation between the fork and the line above has not reached us
    # Now, not at the start: where the root is a link to the newest release, a reload serves that.
    handler.root = release_folder(handler.root)
    load_certificate(handler, args)
    server.row, server.siblings = row, scoreboard.Siblings(board, row)
    if args.max_requests:
        import random

        server.max_requests = args.max_requests + random.randrange(args.max_requests // 10 + 1)  # not all at once
    server.spool_total = args.spool_total
    server.max_rss = args.max_rss * 1024 * 1024
    if boot is not None:
        boot(server)

    def leave(*_):
        row[scoreboard.STATE] = scoreboard.LEAVING
        event_map.call_soon(server.drain)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGUSR2, lambda *_: server.last_words())
    event_map.every_second += [server.report, logs.tell_kept_back]
    access_log = handler.access_log
    if access_log is not None:
        event_map.every_turn.append(access_log.flush)
    server.opened = time.monotonic()
    ready()
    try:
        server.serve_forever()
        server.report()
    finally:
        logs.tell_kept_back(all=True)
        if access_log is not None:
            access_log.close()


def release_folder(root):
    """Return what *root*, which may be a link, leads to at this moment."""
    if not os.path.isdir(root):
        fail(1, f"no such folder: {root!r}")
    return os.path.realpath(root)


def stop_listening(server):
    """Close the queues, which the workers now empty; connections that are in them at the end are reset."""
    for door in server.doors:
        door.socket.listen(0)
    server.close()


def reopen_logs(handler):
    """Open the log files again after a rotation has moved them away; if that fails, go on in the old ones."""
    for opened in filter(None, (logs, handler.access_log)):
        try:
            opened.reopen()
        except OSError as error:
            log.error("cannot open %s again: %s", error.filename, error.strerror)


def announce(server, args, status_server=None):
    """Log where the server listens, with a warning if other machines can reach it."""
    plural = "" if args.workers == 1 else "s"
    what = args.application if "application" in args else f"root {server.handler.root}"
    scheme = server.handler.scheme
    places = [sockets.in_words(door.socket, scheme) for door in server.doors]
    log.info("Serving HTTP on %s (%s, %d worker%s)", ", ".join(places), what, args.workers, plural)
    if status_server:
        log.info("Status at %s", ", ".join(sockets.in_words(door.socket) for door in status_server.doors))
    if os.getuid() == 0:
        log.warning("running as root, which serving does not need: see --user")
    for door in server.doors:
        if door.socket.family != socket.AF_UNIX and not is_local(door.socket.getsockname()[0]):
            message = f"Anybody who can reach this machine can read what is served: {outside_url(door.socket, scheme)}"
            log.warning("%s", message if args.logfile else emphasised(message))
            break


def is_local(address):
    return address.startswith("127.") or address == "::1"


def outside_url(sock, scheme):
    """Return the URL at which other machines may reach *sock*."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        return f"{scheme}://{own_address(sock.family)}:{port}/"
    return sockets.in_words(sock, scheme)


def own_address(family):
    """Return the address that other networks see of this machine, as in a URL. Sends nothing, asks no DNS."""
    # Connecting a UDP socket only looks up the route. These addresses are for documentation: RFC 5737, RFC 3849.
    elsewhere, form = ("2001:db8::1", "[{}]") if family == socket.AF_INET6 else ("192.0.2.1", "{}")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return "localhost"  # no route: for now no other machine can reach this one
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

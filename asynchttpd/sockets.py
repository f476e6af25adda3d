"""From the command line to listening sockets: addresses of both families, Unix sockets, and those from systemd.

A socket is made once, in the master, and shared with all workers. Not here: accepting (listener.py).
"""

import contextlib
import errno
import os
import re
import socket
import stat
import time

from asynchttpd import ports

BACKLOG = 1024  # connections the kernel keeps waiting; 5, as in many examples, overflows under load
ORPHANS_WAIT = 5.0  # seconds in which the workers of a killed master notice this, and free the port
FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


class Unusable(Exception):
    """An address on which we cannot listen; its text says why, in one line."""


def open_all(host: str | None, port: int, binds: list[str], paths: list[str], mode: int) -> list[socket.socket]:
    """Return the sockets to listen on: those from systemd, then as the options say; raise Unusable.

    host, port -- of --host and --port; without a host 127.0.0.1, if nothing else is asked for
    binds, paths, mode -- of --bind, --unix and --unix-mode
    """
    opened = handed_over()
    if host is None and not (opened or binds or paths):
        host = "127.0.0.1"
    if host is not None:
        opened += listen_on(host.removeprefix("[").removesuffix("]"), port)
    for text in binds:
        opened += listen_on(*split_address(text, port))
    return opened + [listen_on_path(path, mode) for path in paths]


def split_address(text: str, port: int) -> tuple[str, int]:
    """Return the host and the port in *text*: "host", "host:port", "[::1]:port", "::1"; *port* where it has none.

    >>> split_address("[::1]:80", 9000), split_address("::1", 9000), split_address("localhost:80", 9000)
    (('::1', 80), ('::1', 9000), ('localhost', 80))
    """
    match = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?|([^:\[\]]*)(?::([0-9]{1,5}))?", text)
    if match is None:
        try:
            socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
        except OSError as error:
            raise Unusable(f"not an address: {text!r}") from error
        return text, port
    host, number = match[1] or match[3] or "", match[2] or match[4]
    if int(number or 0) > 65535 or not host:
        raise Unusable(f"not an address: {text!r}")
    return host, port if number is None else int(number)


class ListeningSocket(socket.socket):
    """A socket whose family and type are plain numbers: accept() asks for both, and two enums took half of its time."""

    family, type = socket.SocketType.family, socket.SocketType.type


def listen_on(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address that *host* means; port 0 becomes a free one, the same for all.

    host -- an address or a name, of one family or of both; "*" means every address of this machine, and so does "::"

    Raise Unusable.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses_of(host, port):
            # If the second family fails (a container may have no IPv6), serve the first.
            try:
                sockets.append(listen(family, (address[0], port, *address[2:])))
            except OSError as error:
                if not sockets or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise Unusable(f"cannot listen on {host}:{port}: {reason(error)}{holder_in_words(port, error)}") from error
    return sockets


def addresses_of(host, port):
    """Return the (family, address) pairs that *host* means, IPv4 first; raise OSError."""
    if host in ("*", "::"):
        host = None
    elif host.isascii():
        host = host.encode()  # for text Python loads its codec for names in other letters: a twentieth of our start
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # the codec for names with other letters: too long, or empty between dots
        raise OSError(errno.EINVAL, "not a host name") from error
    pairs = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return sorted(pairs, key=lambda pair: pair[0] == socket.AF_INET6)


def listen(family, address):
    sock = ListeningSocket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        bind_patiently(sock, address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_patiently(sock, address):
    """Bind *sock*; if only orphaned workers hold the port, wait, since they are about to free it."""
    give_up_at = time.monotonic() + ORPHANS_WAIT
    while True:
        try:
            return sock.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > give_up_at or not ports.are_orphans(address[1]):
                raise
        time.sleep(0.25)


def holder_in_words(port, error):
    pids = ports.holders(port) if error.errno == errno.EADDRINUSE else []
    return f" by process {', '.join(map(str, pids))}" if pids else ""


def reason(error):
    return (error.strerror or str(error)).partition(" (")[0]


# Unix sockets.


def listen_on_path(path: str, mode: int) -> socket.socket:
    """Return a listening Unix socket at *path*, which only *mode* may use; raise Unusable.

    A socket file that a dead server has left behind is replaced; that of a living server is not, nor is any other file.
    """
    sock = ListeningSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            remove_stale(path)
        mask = os.umask(0o777 & ~mode)  # not chmod() afterwards: before it anybody could connect
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Unusable(f"cannot listen on {path}: {reason(error)}") from error
    return sock


def remove_stale(path):
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "it is a file, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "a server is listening there")


def identities(paths: list[str]) -> dict[str, os.stat_result]:
    """Return what remove_paths() takes, of Unix sockets that have just been made."""
    return {path: os.lstat(path) for path in map(os.path.abspath, paths)}


def remove_paths(made: dict[str, os.stat_result]) -> None:
    """Remove the files of Unix sockets, {path: os.lstat() when it was made}, unless they have been replaced."""
    for path, facts in made.items():
        with contextlib.suppress(OSError):  # it has gone, or the folder is root's and we are not root any more
            if os.path.samestat(os.lstat(path), facts):
                os.unlink(path)


# Sockets from systemd.


def handed_over(environ=os.environ) -> list[socket.socket]:
    """Return the listening sockets that systemd has opened for us (sd_listen_fds(3)), and clear its variables.

    Raise Unusable for a descriptor that is no listening stream socket.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count, names = int(environ.get("LISTEN_FDS", "0")), environ.get("LISTEN_FDNAMES", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)  # else our children take them for theirs
    return [taken_over(FIRST_HANDED_OVER + number, name) for number, name in zip_names(count, names)]


def zip_names(count, names):
    given = names.split(":") if names else []
    return [(number, given[number] if number < len(given) else "unknown") for number in range(count)]


def taken_over(fd, name):
    os.set_inheritable(fd, False)
    try:
        sock = ListeningSocket(fileno=fd)
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Unusable(f"descriptor {fd} ({name}) from systemd: {reason(error)}") from error
    if not listens:
        sock.detach()
        raise Unusable(f"descriptor {fd} ({name}) from systemd is no listening stream socket")
    return sock


def in_words(sock: socket.socket, scheme: str = "http") -> str:
    """Return where *sock* listens, for people: "http://127.0.0.1:9000/" or "unix:/run/site.sock"."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(address)}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}/"

"""Which process has a port: what Linux tells about other processes' sockets."""

import glob
import os

LISTEN = "0A"  # a socket's state in /proc/net/tcp


def holders(port: int) -> list[int]:
    """Return the ids of the processes that listen on *port*, as far as we may know them; none without /proc."""
    sockets = listening_sockets(port)
    pids = set()
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) in sockets:
                pids.add(int(path.split("/")[2]))
        except OSError:
            pass  # ended, or another user's
    return sorted(pids)


def listening_sockets(port: int) -> set[str]:
    """Return how /proc/*/fd names the sockets that listen on *port*."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        # local address:port in hexadecimal, state, inode: man 5 proc
        found.update(f"socket:[{row[9]}]" for row in rows if row[3] == LISTEN and row[1].endswith(f":{port:04X}"))
    return found


def are_orphans(port: int) -> bool:
    """Tell whether only workers without their master listen on *port*: a living master has a worker for a child."""
    pids = holders(port)
    return bool(pids) and not any(parent_of(pid) in pids for pid in pids)


def parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None  # ended meanwhile

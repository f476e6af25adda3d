"""From root to a user with fewer rights (setuid(7)), when the sockets are open, before the application loads."""

import grp
import os
import pwd


class Refused(Exception):
    """A user or group that we cannot become; its text says why, in one line."""


def find(user: str | None, group: str | None) -> tuple[int, int]:
    """Return the numbers of *user* and *group*, each a name or a number; by default the group is the user's own.

    Raise Refused for one that does not exist, and for root and its group, which would gain nothing.
    """
    account = lookup(user, pwd.getpwnam, pwd.getpwuid, "user") if user else None
    uid = account.pw_uid if account else os.getuid()
    if group:
        gid = lookup(group, grp.getgrnam, grp.getgrgid, "group").gr_gid
    else:
        gid = account.pw_gid if account else os.getgid()
    if uid == 0:
        raise Refused(
            f"--user {user} is root: nothing would be gained" if user else "--group without --user stays root"
        )
    if gid == 0:
        raise Refused(f"group {group or gid} is root's: nothing would be gained")
    return uid, gid


def lookup(text, by_name, by_number, kind):
    try:
        return by_number(int(text)) if text.isdecimal() else by_name(text)
    except (KeyError, OverflowError) as error:
        raise Refused(f"no such {kind}: {text!r}") from error


def drop(user: str | None, group: str | None, files: list[int], paths: list[str]) -> None:
    """Become *user* and *group* for good, with no other groups, and check that it is so.

    files -- descriptors of logs, which are given to the user: it must be able to open them again after a rotation
    paths -- files of Unix sockets, likewise: their mode is to let in this user and this group, not root's

    Raise Refused.
    """
    uid, gid = find(user, group)
    try:
        for fd in files:
            os.fchown(fd, uid, gid)
        for path in paths:
            os.lchown(path, uid, gid)
        os.setgroups([])  # the groups first, while we still may change them; the user last
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise Refused(f"cannot become user {uid} and group {gid}: {error.strerror}") from error
    check(uid, gid)


def check(uid: int, gid: int) -> None:
    """Raise Refused unless we are *uid* and *gid*, with no other group, and cannot become root again."""
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) - {gid}:
        raise Refused(f"still user {os.getresuid()} and groups {os.getresgid()}, {os.getgroups()}")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise Refused("could become root again")

"""From the path of a URL to an open file inside the root, and what it is.

A path is decoded once, then normalised: in the other order `%2e%2e` would slip through. A file is opened first and then
asked what it is: a moment later its name may stand for another file, so facts and bytes come from one descriptor.

Not here: what is answered (httpd.py), and which part of the file (conditional.py).
"""

import errno
import functools
import math
import os
import stat
import time

from asynchttpd import conditional, http1, media
from asynchttpd.http1 import HTTPError

FIXED_TIMES = 315619200  # 1980-01-02: an earlier time was set by a tool (Nix, git archive, zip) and says nothing
SETTLED = 0.1  # seconds after a change in which the next one may get the same time from the file system

# What no URI has but clients send (http1.py): we encode it in a Location.
NO_URI = {ord(character): f"%{ord(character):02X}" for character in '"<>\\^`{|}'}

# Only pure functions are remembered. A file that changes has another size or time.
entity_tag = functools.lru_cache(maxsize=1024)(conditional.entity_tag)
last_modified = functools.lru_cache(maxsize=256)(conditional.last_modified)
remembered_codings = functools.lru_cache(maxsize=256)(conditional.preferred_codings)


def url_path(target):
    """Return the path of *target* (as it came, percent-encoded, with its query), decoded and normalised.

    Raise HTTPError 404 if no file can have such a name.
    """
    path = target.partition("?")[0]
    if "%" in path:
        if "%00" in path or "%2f" in path.lower():
            raise HTTPError(404, "no file name contains NUL or a slash")
        path = os.fsdecode(http1.percent_decoded(path))
    return url_normalize(path)


def url_normalize(path):
    """Return the absolute, decoded *path* of a URL with "." and ".." segments and doubled "/" resolved.

    ".." at the root stays at the root (RFC 3986 §5.2.4).

    >>> url_normalize("/a/./b//../../c/"), url_normalize("/../../etc/passwd"), url_normalize("/.well-known/x")
    ('/c/', '/etc/passwd', '/.well-known/x')
    """
    if "//" not in path and "/." not in path:
        return path  # as nearly every one
    segments = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    is_folder = path.endswith(("/", "/.", "/..")) and segments
    return "/" + "/".join(segments) + ("/" if is_folder else "")


def open_path(path, root, follow_symlinks, or_folder=False, make_room=lambda: False):
    """Open the regular file, *or_folder*, at *path*; return its descriptor and os.fstat() of it.

    make_room -- function that frees descriptors when there is none left, and tells whether there were any to free

    Raise HTTPError: 404 for anything else, such as a FIFO, and for everything outside the root, which looks exactly
    like a missing file; 403 for files without permission; 503 when there is no descriptor left.
    """
    try:
        # Non-blocking: never wait for the other end of a FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        inside = follow_symlinks or is_inside(os.path.realpath(path), root)
        raise HTTPError(403 if inside else 404, "no permission") from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            if make_room():
                return open_path(path, root, follow_symlinks, or_folder)
            raise HTTPError(503, "out of descriptors") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
            raise HTTPError(404, "no such file") from error
        raise
    facts = os.fstat(fd)
    is_wanted = stat.S_ISREG(facts.st_mode) or (or_folder and stat.S_ISDIR(facts.st_mode))
    if is_wanted and (follow_symlinks or is_inside(opened_path(fd, path), root)):
        return fd, facts
    os.close(fd)
    raise HTTPError(404, "no regular file in the root")


def open_sibling(path, accepted, suffixes, open_path):
    """Return (coding, descriptor, facts) of the best precompressed sibling of the file *path*, None without one.

    accepted -- the client's Accept-Encoding
    suffixes -- {coding: suffix} of siblings
    """
    preferred_codings = remembered_codings if len(accepted) <= http1.SHORT else conditional.preferred_codings
    for coding in preferred_codings(accepted, tuple(suffixes)):
        sibling = path + suffixes[coding]
        if os.access(sibling, os.F_OK):  # nearly never: much cheaper than an exception
            try:
                return coding, *open_path(sibling)
            except (HTTPError, OSError):
                pass
    return None


def is_inside(real_path, root):
    """Tell whether *real_path*, in which all links are resolved, is in the folder *root*."""
    return (real_path + "/").startswith(real_prefix(root))


def is_listed(entry, folder, root, hidden, follow_symlinks):
    """Tell whether a listing of *folder* may show *entry* (an os.DirEntry): nothing hidden, no link out of the root."""
    if (entry.name.startswith(".") and not hidden) or not (entry.is_file() or entry.is_dir()):
        return False
    return follow_symlinks or not entry.is_symlink() or is_inside(os.path.realpath(folder + entry.name), root)


@functools.cache
def real_prefix(root):
    """Return what the real path of everything inside the folder *root* starts with."""
    return os.path.join(os.path.realpath(root), "")


def opened_path(fd, path):
    """Return the real path of *fd*, which was opened as *path*, with all symbolic links resolved."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # Linux: one call, and no race with a link that is replaced
    except OSError:
        return os.path.realpath(path)


@functools.lru_cache(maxsize=1024)
def file_fields(etag, modified, cache):
    """Return the fields that a file's 200 and its 304 share (RFC 9110 §15.4.5), from their validators."""
    fields = [f"ETag: {etag}", f"Cache-Control: {cache}", "Vary: Accept-Encoding"]
    if modified:
        fields.append(f"Last-Modified: {modified}")
    return "\r\n".join(fields)


def validators(facts, coding, now):
    """Return (entity tag, seconds of the last modification) of a file from its os.fstat().

    A time that tools have set to the same for all files is none, and is NaN. Then the tag is made of what nobody can
    set: inode and time of the last change. Just changed, the tag is for this answer only.
    """
    if facts.st_mtime >= FIXED_TIMES:
        return entity_tag(facts.st_size, facts.st_mtime_ns, coding), facts.st_mtime
    changed = facts.st_ctime_ns if now - facts.st_ctime > SETTLED else time.time_ns()
    tag = conditional.entity_tag(facts.st_size, changed, coding)
    return f'"{facts.st_ino:x}-{tag[1:]}', math.nan


def is_sized(fd, size):
    """Tell whether the open file *fd* ends where the system says. Those of /proc and /sys do not.

    Worth a question only if it occupies no block, as they, empty files and holes do.
    """
    return len(os.pread(fd, 2, max(size - 1, 0))) == min(size, 1)


@functools.lru_cache(maxsize=1024)
def type_fields(name, coding, types=()):
    """Return the fields that tell what a file is, from its name, without a folder, and its content coding.

    types -- pairs such as (".foo", "text/foo") that the operator wants, sent as they are
    """
    _, dot, suffix = name.lower().rpartition(".")
    suffix = dot + suffix  # without a dot the whole name
    fields = [f"Content-Type: {dict(types).get(suffix) or media.media_type(suffix)}"]
    codings = ["gzip"] * (suffix == ".svgz") + [coding] * bool(coding)
    if codings:
        fields.append(f"Content-Encoding: {', '.join(codings)}")
    return "\r\n".join(fields)

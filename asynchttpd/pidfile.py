"""A file with our process id, for those who send us signals. Only one server makes it, and the same one removes it."""

import contextlib
import os


class Taken(Exception):
    """The file belongs to another server, or is none of this kind; its text says so in one line."""


class PidFile:
    """The file *path*, with our process id in it. Raise Taken, or OSError if it cannot be written.

    A file that a dead server has left behind is replaced. Symbolic links are not followed: in a folder where others may
    write, they could lead anywhere.
    """

    def __init__(self, path: str):
        self.path, self.pid = os.path.abspath(path), os.getpid()
        for _ in range(2):
            try:
                fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
                break
            except FileExistsError:
                self.remove_stale()
        else:
            raise Taken(f"{path}: another process makes it again and again")
        with open(fd, "w") as file:
            file.write(f"{self.pid}\n")
            self.made = os.fstat(fd)

    def remove_stale(self):
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
                text = file.read(32).strip()
        except OSError as error:
            raise Taken(f"{self.path} exists, and cannot be read: {error.strerror}") from error
        if not (text.isascii() and text.isdigit()) and text:
            raise Taken(f"{self.path} exists, and does not hold a process id")
        if text and is_alive(int(text)):
            raise Taken(f"{self.path} says that process {text} is running")
        os.unlink(self.path)

    def remove(self):
        """Remove the file if it is still ours: we may be a child, or another server may have made its own."""
        with contextlib.suppress(OSError):  # it has gone, or the folder is root's and we are not root any more
            if os.getpid() == self.pid and os.path.samestat(os.lstat(self.path), self.made):
                os.unlink(self.path)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's, and alive
    return True

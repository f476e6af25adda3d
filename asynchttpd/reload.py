"""Watching the sources of an application, for `--reload` while it is being written."""

import glob
import logging
import os
import signal
import sys
import time

STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "")
PACKAGE_FOLDERS = {"site-packages", "dist-packages"}  # the latter is Debian's

log = logging.getLogger("httpd")


CLOCK_STEP = 20_000_000  # nanoseconds that a file system's clock may be behind time.time_ns()


def watch_sources(server, started, interval=0.5):
    """Send the master SIGHUP when a source file of the application has changed; runs in a thread of the worker.

    The master starts a new worker and, if that cannot boot for a syntax error, keeps this one.

    server -- the worker's; while it drains the watch is another worker's task
    started -- time.time_ns() before the first of the application's files was loaded
    """
    seen, started, master = {}, started - CLOCK_STEP, os.getppid()
    while not server.draining:
        before, seen = seen, source_times()
        # A file that was loaded just now may have changed since the worker started.
        if any(seen.get(path) != changed for path, changed in before.items()) or any(
            changed and changed > started for path, changed in seen.items() if path not in before
        ):
            log.info("a source file has changed")
            if os.getppid() == master:  # else the master was killed, and our parent is another process
                os.kill(master, signal.SIGHUP)
        time.sleep(interval)


def source_times():
    """Return {path: time of last change} of the files that are loaded but not installed, and of those beside them."""
    loaded = {
        os.path.abspath(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)
    }
    files = {path for path in loaded if not is_installed(path)}
    for folder in {os.path.dirname(path) for path in files}:
        files.update(glob.glob(os.path.join(folder, "*.py")))
    times = {}
    for path in files:
        try:
            times[path] = os.stat(path).st_mtime_ns
        except OSError:
            times[path] = None  # deleted, or just being replaced by an editor
    return times


def is_installed(path):
    """Tell whether *path* belongs to Python or to a package. A project itself may also lie below sys.prefix."""
    return path.startswith(STANDARD_LIBRARY) or not PACKAGE_FOLDERS.isdisjoint(path.split(os.sep))

"""Run one command under limits, and leave nothing of it behind: for programs that may be broken or hostile. Linux only.

The limits are for accidents. A program of the same user can do whatever the user can: docs/teaching.md.
"""

import ctypes
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from messages import say

PROCESSES = 100  # with those of the command itself
MIB = 1024 * 1024
LIMITS = {  # of each process
    resource.RLIMIT_AS: 2048 * MIB,
    resource.RLIMIT_FSIZE: 64 * MIB,  # the lab check's own largest file has 16
    resource.RLIMIT_CORE: 0,
}
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def run_confined(command, seconds, **options):
    """Run *command* for at most *seconds*, end all that it has started, and return why it did not end by itself, or "".

    options -- for subprocess.Popen
    All children of the calling process are taken for the command's.
    """
    # Whoever loses his parent below us becomes our child, not that of init, so that we still find him.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: limit(seconds), **options)
    try:
        return watch(process, seconds)
    finally:
        end_descendants()
        process.wait()
        reap()


def limit(seconds):
    """Set the limits of a submission; runs in the new process, which passes them on to all that it starts."""
    os.nice(5)  # this program must get its turn to end the others
    for kind, most in (LIMITS | {resource.RLIMIT_CPU: int(seconds) + 1}).items():
        resource.setrlimit(kind, (most, most))


def watch(process, seconds):
    """Wait for *process*; return why not to its end, else ""."""
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            return say("time limit of {seconds:g} s", seconds=seconds)
        if len(descendants()) > PROCESSES:
            return say("more than {count} processes", count=PROCESSES)
        time.sleep(0.1)
    if process.returncode >= 0:
        return ""
    return say("the check was killed by signal {number}", number=-process.returncode)


def descendants():
    """Return the ids of all processes below this one that have not ended."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # ended while we looked
            continue
        if state != "Z":
            parents[int(entry.parent.name)] = int(parent)
    found, new = set(), {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in new}:
        found |= new
    return found


def end_descendants():
    """Kill whatever the submission has started, also what has left its process group; return when nothing is left."""
    while left := descendants():
        for number in (signal.SIGSTOP, signal.SIGKILL):  # held still first, it cannot fork meanwhile
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass


def reap():
    """Take the exit status of every child there is, so that none stays as a zombie."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there is none

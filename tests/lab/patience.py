"""How long a client waits: while the server may still be at work, and no longer.

A fixed number of seconds is too long for a server that sleeps with the request forgotten, and too short for a good one
on a busy machine. What its processes do meanwhile tells more; where nobody says (no /proc), the seconds are left.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from .messages import say

SECONDS = 4.0  # for one answer; on the same machine it takes milliseconds
IDLE = 1.5  # seconds in which the server does nothing: what has not come by then is not on its way
WORK = 0.7  # seconds of processor time of one of its processes
LOOK = 0.25  # seconds from one look to the next
NOTHING = 0.05  # seconds of processor time that a loop may use while it has nothing to do


class Process(NamedTuple):
    state: str  # a letter, proc(5)
    seconds: float | None  # of processor time, its own and the kernel's for it; None where nobody says


def processes_of(group):
    """Return {id: Process} of the living processes (no zombies) of process group *group*."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True).stdout
        rows = [line.split()[:3] for line in listing.splitlines()]
        return {
            int(pid): Process(state[0], None) for pid, pgid, state in rows if int(pgid) == group and state[0] != "Z"
        }
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended while we looked
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            ticks = int(fields[11]) + int(fields[12])  # utime, stime
            found[int(pid)] = Process(fields[0], ticks / os.sysconf("SC_CLK_TCK"))
    return found


def seconds_used(processes, before):
    """Yield the processor time of each of *processes* since *before*; one that is new has begun with none."""
    for pid, process in processes.items():
        if process.seconds is not None:
            yield process.seconds - (before[pid].seconds if pid in before else 0)


class Patience:
    """The wait for one thing that *group*, the processes of a server, shall do; it begins when it is made.

    seconds -- the most in all, however busy the machine is
    idle    -- seconds without work after which it is over
    work    -- seconds of processor time of one process after which it is over
    """

    def __init__(self, group, seconds=SECONDS, idle=IDLE, work=WORK):
        self.group, self.seconds, self.idle, self.work = group, seconds, idle, work
        self.begin = self.rests_since = time.monotonic()
        # The first look comes only after a while: most answers are there by then.
        self.at_first = self.before = None

    def renew(self):
        """Something has come: the wait for the rest begins anew, but for the seconds in all."""
        self.rests_since = time.monotonic()
        self.at_first = None

    def is_out_of_time(self):
        return time.monotonic() - self.begin > self.seconds

    def is_over(self):
        now, processes = time.monotonic(), processes_of(self.group)
        if self.at_first is None:
            self.at_first = self.before = processes
        if not all(process.state == "S" and process.seconds is not None for process in processes.values()):
            self.rests_since = now
        elif any(used > NOTHING for used in seconds_used(processes, self.before)):
            self.rests_since = now
            self.before = processes
        return (
            self.is_out_of_time()
            or now - self.rests_since > self.idle
            or any(used > self.work for used in seconds_used(processes, self.at_first))
        )

    def __str__(self):
        """What it has been, for a message."""
        now = time.monotonic()
        spent, rest = now - self.begin, now - self.rests_since
        if rest > self.idle:
            return say("after {seconds:.1f} s, the last {rest:.1f} of them idle", seconds=spent, rest=rest)
        return say("after {seconds:.1f} s", seconds=spent)

    def wait_until(self, condition):
        """Return whether *condition()* became true before patience was over."""
        looked = time.monotonic()
        while not condition():
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                if self.is_over():
                    return False
            time.sleep(0.02)
        return True

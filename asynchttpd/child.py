"""A worker as its master sees it: what the master has told it, whether it hangs, how it is ended.

Not here: what the worker itself does (worker.py), and how many workers are wanted (prefork.py).
"""

import math
import os
import signal
import time

from asynchttpd import scoreboard

STEP = 0.5  # seconds from one of the last signals to the next
OVERLAP = 1.0  # seconds that a row may be out of date when we first read it


class Child:
    """A process that the master has forked, with *row* of the scoreboard.

    started -- time.monotonic() before the fork
    ready -- has it said that it serves?
    leaving -- it no longer counts as a worker: it was told to leave, or the master has given it up
    leave_by -- when it is killed (time.monotonic()), however busy it is
    last_signals -- signals still to be sent to end it, one in each STEP
    progress, stalled -- what its row said when we last looked, and for how many seconds this has not changed
    """

    def __init__(self, pid, row, started):
        self.pid, self.row, self.started = pid, row, started
        self.ready = self.leaving = False
        self.leave_by = math.inf
        self.last_signals, self.signalled = [], 0.0
        self.progress, self.stalled = None, 0.0

    @property
    def state(self):
        return self.row[scoreboard.STATE]

    def tell_to_leave(self, grace):
        """Tell it to finish its answers within *grace* seconds."""
        self.leaving = True
        if not self.last_signals:
            self.leave_by = min(self.leave_by, time.monotonic() + grace)
            os.kill(self.pid, signal.SIGTERM)

    def hangs(self, timeout, awake):
        """Tell whether its loop has not turned for *timeout* seconds; 0: for ever.

        awake -- seconds since the last call, without the time in which the master itself was stopped
        """
        progress = self.row[scoreboard.TURNED], self.state
        self.stalled = self.stalled + awake if progress == self.progress else 0.0
        self.progress = progress
        return 0 < timeout <= self.stalled - OVERLAP

    def end_hung(self):
        """Let it send what is ready for others; then have faulthandler show its stack and end it, or else kill it."""
        self.row[scoreboard.STATE] = scoreboard.HUNG
        self.end_by(signal.SIGUSR2, signal.SIGABRT, signal.SIGKILL)

    def end_overdue(self):
        """Let it log what it waits for; then kill it."""
        self.end_by(signal.SIGUSR2, signal.SIGKILL)

    def end_by(self, *signals):
        self.last_signals = list(signals)
        self.send_last_signal()

    def send_last_signal(self):
        now = time.monotonic()
        if now >= self.signalled + STEP:
            self.signalled = now
            os.kill(self.pid, self.last_signals[0])
            if len(self.last_signals) > 1:
                del self.last_signals[0]


def cause(status):
    """Return an exit status in words."""
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name
    return f"{name} (killed: by hand, or by the kernel when memory ran out)" if name == "SIGKILL" else name

"""A process beside the workers that the master keeps alive: it is started again when it ends, and ended last.

Like a worker it is the child of a fork (worker.py), but has no row on the board, since it serves no clients. Not here:
what it does.
"""

import logging
import os
import signal
import time

from asynchttpd import scoreboard
from asynchttpd.child import cause

log = logging.getLogger("httpd")


class Companion:
    """The process that does *work(row, ready)*, if any. It has nothing to lose, so at the end it is killed.

    pid -- its number; 0: it does not run
    """

    pause = 1.0  # seconds from one start to the next

    def __init__(self, work=None):
        self.work, self.pid, self.start_at = work, 0, 0.0

    def keep(self, fork):
        """Start it if it does not run; *fork(work, row)* returns its number or raises OSError."""
        now = time.monotonic()
        if self.work and not self.pid and now >= self.start_at:
            self.start_at = now + self.pause
            try:
                self.pid = fork(self.work, [0] * scoreboard.CELLS)
            except OSError as error:
                log.error("cannot fork: %s", error.strerror)

    def ended(self, pid, status):
        """The process *pid* has ended with *status*: if it was this one, start another soon."""
        if pid == self.pid:
            log.warning("process %d beside the workers ended with %s, starting another", pid, cause(status))
            self.pid = 0

    def signal(self, number):
        if self.pid:
            os.kill(self.pid, number)

    def end(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

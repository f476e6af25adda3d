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
    """The process that does *work(row, ready)*, if any. SIGUSR2 tells it to leave; a SIGTERM may be for the workers.

    pid -- its number; 0: it does not run
    """

    pause = 1.0  # seconds from one start to the next
    patience = 5.0  # seconds to leave in; then it is killed, since nobody loses anything by that

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
        """End the process, and return when it has ended."""
        if self.pid:
            os.kill(self.pid, signal.SIGUSR2)
            kill_at = time.monotonic() + self.patience
            while not os.waitpid(self.pid, os.WNOHANG)[0]:
                if time.monotonic() > kill_at:
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.01)

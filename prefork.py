"""One master process, several workers that do the work. Knows nothing of what the work is.

The master forks the workers and then only watches: it reaps one that has died, starts another, and passes on the
signal to stop. It never runs the application's code, so no fault of a worker can take it down.

    master ── fork ──> worker ── work(ready) ──> ready() ──> serves until SIGTERM, then drains ──> exit
       ^                  │
       └── SIGCHLD ───────┘   died before ready(): could not boot. Died later: replaced.

Signal handlers only write a number into a pipe; the master's one loop acts on it. That way nothing
ever happens in the middle of something else.
"""

import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

log = logging.getLogger("prefork")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Master:
    """Keeps *count* workers alive until it is told to stop.

    work -- function that is called in each new worker with one argument, a function to be called when the
            worker is ready to serve; returns, or raises SystemExit, when the worker is done
    count -- how many workers
    release -- called in the master when stopping begins, to close what it shares with the workers: as long as
               the master holds a copy of a listening socket, clients queue up at it
    """

    grace = 30.0  # seconds that workers have to finish what they are doing once the master stops
    respawn_pause = 1.0  # seconds between two starts of a worker that died young

    def __init__(self, work: Callable, count: int, release: Callable):
        self.work, self.count, self.release = work, count, release
        self.workers: dict[int, float] = {}  # pid -> when it was started (time.monotonic())
        self.booting: dict[int, int] = {}  # descriptor on which a worker says that it is ready -> its pid
        self.booted = False  # has any worker ever been ready?
        self.stop_by: float | None = None  # deadline of the workers once we are stopping
        self.spawn_after = 0.0  # no new worker before (time.monotonic())
        self.status = 0  # our own exit status

    def run(self) -> int:
        """Keep the workers until SIGTERM or SIGINT; return the exit status, not 0 if they could not boot."""
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # set_wakeup_fd has written the number already
        while True:
            self.reap()
            if self.stop_by is None:
                self.spawn_missing()
            elif not self.workers:
                return self.status
            elif time.monotonic() >= self.stop_by:
                self.signal_workers(signal.SIGKILL)
            self.wait()

    def wait(self):
        """Sleep until a signal arrives, a worker gets ready or a second has passed, and act on it."""
        readers, _, _ = select.select([self.wake_reader, *self.booting], [], [], 1.0)
        for fd in readers:
            if fd == self.wake_reader:
                for number in os.read(fd, 512):
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self.stop()
            else:
                self.booted |= os.read(fd, 1) == b"!"  # b"": died before it was ready
                os.close(fd)
                del self.booting[fd]

    def spawn_missing(self):
        """Start the workers that are missing; as long as none has shown that it can boot, only one."""
        wanted = self.count if self.booted else 1
        while len(self.workers) < wanted and time.monotonic() >= self.spawn_after:
            self.spawn()

    def spawn(self):
        ready_reader, ready_writer = os.pipe()
        # No signal may meet the child while it still has our handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            os.close(ready_reader)
            self.become_worker(ready_writer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(ready_writer)
        self.workers[pid] = time.monotonic()
        self.booting[ready_reader] = pid

    def become_worker(self, ready_writer):
        """The child's life, from fork to exit."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for fd in (self.wake_reader, self.wake_writer, *self.booting):
                os.close(fd)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Ctrl-C reaches every process of the terminal; that the master gets it is enough.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self.work(lambda: (os.write(ready_writer, b"!"), os.close(ready_writer)))
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            # Not sys.exit(): the rest of the master's program is not for the child.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def reap(self):
        """Take note of the workers that have ended."""
        for pid in list(self.workers):
            ended, wait_status = os.waitpid(pid, os.WNOHANG)
            if ended == 0:
                continue
            started = self.workers.pop(pid)
            if self.stop_by is not None:
                continue
            status = os.waitstatus_to_exitcode(wait_status)
            if not self.booted:
                # The next would end the same way. It has said why on stderr.
                self.status = status if status > 0 else 1
                self.stop()
                return
            cause = signal.Signals(-status).name if status < 0 else f"status {status}"
            log.warning("worker %d ended with %s, starting another", pid, cause)
            if time.monotonic() - started < self.respawn_pause:
                self.spawn_after = time.monotonic() + self.respawn_pause

    def stop(self):
        """Let the workers finish; told a second time, end them now."""
        if self.stop_by is None:
            self.release()
            self.stop_by = time.monotonic() + self.grace
            self.signal_workers(signal.SIGTERM)
        else:
            self.stop_by = time.monotonic()

    def signal_workers(self, number):
        for pid in self.workers:
            os.kill(pid, number)

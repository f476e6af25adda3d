"""One master process, several workers that do the work. Knows nothing of what the work is.

The master forks workers and then only watches, in one loop: reap those that have ended, start what is missing,
look after those that hang, wait for a signal and act on it. It never runs the application's code, so no fault of
a worker can take it down. As with Unicorn, the server for Ruby, a worker may die at any moment: the kernel closes
what it had open, and the listening socket lives on in the others.

    master -- fork --> worker: work(row, ready) ... ready() ... serves ... SIGTERM: drains, exits
       ^                 |
       +--- SIGCHLD -----+   before any worker was ready(): could not boot, the master ends.
                             Later: another one takes its place.

A worker is replaced (SIGHUP, or it says that it is worn) by starting another first; when that is ready the
old one is told to leave. If it cannot boot the old one stays.

Signal handlers only write a number into a pipe; the loop acts on it. So nothing ever happens in the
middle of something else. docs/signals.md has the table.
"""

import collections
import contextlib
import gc
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

from asynchttpd import scoreboard

log = logging.getLogger("httpd")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
TICK = 1.0  # seconds between two looks at the workers


class Worker:
    """A child as the master sees it.

    replaces -- the worker that is told to leave when this one is ready, or None
    ready_fd -- descriptor on which it says that it is ready; None: it has said so
    leave_by -- when it is killed (time.monotonic()); None: it has not been told to leave
    turned -- what its row said of its last turn when we looked last
    stalled -- seconds for which its loop has not turned, as far as the master was awake to see it
    """

    def __init__(self, pid, row, ready_fd, replaces):
        self.pid, self.row, self.ready_fd, self.replaces = pid, row, ready_fd, replaces
        self.leave_by = None
        self.turned, self.stalled = 0, 0.0


class Master:
    """Keeps *count* workers alive until it is told to stop.

    work -- function(row, ready), called in each new worker: *row* is its row of the scoreboard, ready() is
            called when it serves. It returns, or raises SystemExit, when the worker is done; on SIGTERM
            it should. Its SIGUSR1 means "open the logs again".
    count -- how many workers
    board -- rows of scoreboard.make_board(), some more than workers: those that leave keep theirs
    release -- called in the master when it stops, to close what it shares with the workers: as long as it
               holds a copy of a listening socket, clients queue up there
    reopen -- called in the master on SIGUSR1
    serving -- called in the master once, when the first worker is ready
    """

    grace = 30.0  # seconds for a worker that was told to leave
    timeout = 30.0  # seconds for which a worker's loop may stand still; 0: for ever
    brake = 1.0  # seconds in which at most *count* workers are started: no storm of forks if they die at once

    def __init__(self, work: Callable, count: int, board: list, release: Callable, reopen: Callable, serving=None):
        self.work, self.count, self.board = work, count, board
        self.release, self.reopen, self.serving = release, reopen, serving
        self.workers: dict[int, Worker] = {}  # by pid
        self.worn: collections.deque[Worker] = collections.deque()  # to be replaced, one at a time
        self.booted = False  # has a worker ever been ready?
        self.stopping = False
        self.credit = float(count)  # workers that may be started now; grows by *count* every *brake* seconds
        self.credited = time.monotonic()
        self.checked = time.monotonic()
        self.status = 0  # our own exit status

    def run(self) -> int:
        """Keep the workers until SIGTERM or SIGINT; return the exit status, not 0 if they could not boot."""
        # The collector writes into every object that it looks at, and the page is no longer shared with the workers.
        gc.freeze()
        while True:
            self.reap()
            if not self.stopping:
                self.keep_count()
            elif not self.workers:
                return self.status
            self.check_workers()
            self.wait()

    def catch_signals(self):
        """Have signals noted, from now on, for run() to act on; call it before run()."""
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # set_wakeup_fd has written the number already

    def wait(self):
        """Sleep until a signal arrives, a worker gets ready or it is time for a look; act on what it was."""
        booting = {worker.ready_fd: worker for worker in self.workers.values() if worker.ready_fd is not None}
        pause = self.brake / self.count if self.booted and self.missing() > 0 else TICK
        readers, _, _ = select.select([self.wake_reader, *booting], [], [], min(pause, TICK))
        for fd in readers:
            if fd == self.wake_reader:
                for number in os.read(fd, 512):
                    self.handle_signal(number)
            elif os.read(fd, 1):  # b"" at the end of a worker that died: reap() comes to it
                self.worker_ready(booting[fd])

    def handle_signal(self, number):
        if number in (signal.SIGTERM, signal.SIGINT):
            self.stop()
        elif number == signal.SIGHUP and not self.stopping:
            log.info("starting new workers in place of the old")
            self.worn = collections.deque(self.staying())
        elif number == signal.SIGUSR1:
            self.reopen()
            self.signal_workers(signal.SIGUSR1)

    # Start.

    def staying(self):
        """Return the workers that count: neither leaving nor still getting ready to replace another."""
        return [worker for worker in self.workers.values() if worker.leave_by is None and worker.replaces is None]

    def keep_count(self):
        """Start what is missing; replace what is worn, one at a time."""
        now = time.monotonic()
        self.credit = min(self.count, self.credit + (now - self.credited) * self.count / self.brake)
        self.credited = now
        while self.missing() > 0 and self.credit >= 1 and self.spawn():
            self.credit -= 1
        if self.worn and self.missing() <= 0 and all(worker.ready_fd is None for worker in self.workers.values()):
            old = self.worn.popleft()
            if old in self.staying():
                self.spawn(replaces=old)

    def missing(self):
        wanted = self.count if self.booted else 1  # until one has shown that it can boot
        return wanted - len(self.staying())

    def spawn(self, replaces=None):
        """Fork a worker; return whether there is one more."""
        row = next((row for row in self.board if row[scoreboard.PID] == 0), None)
        if row is None:
            return False  # too many are still leaving
        try:
            ready_reader, ready_writer = os.pipe()
        except OSError as error:
            return self.cannot_fork(error)
        # Before the fork, or they could overwrite what a quick child has already written.
        row[scoreboard.STARTED], row[scoreboard.STATE] = int(time.time()), scoreboard.BOOTING
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may meet the child while it has our handlers
        try:
            pid = os.fork()
        except OSError as error:
            scoreboard.clear(row)
            os.close(ready_reader)
            return self.cannot_fork(error)
        else:
            if pid == 0:
                self.become_worker(row, ready_writer, ready_reader)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(ready_writer)
        row[scoreboard.PID] = pid
        self.workers[pid] = Worker(pid, row, ready_reader, replaces)
        return True

    def cannot_fork(self, error):
        log.error("cannot fork: %s", error.strerror)
        self.credit = 0.0  # not again at once
        return False

    def become_worker(self, row, ready_writer, ready_reader):
        """The child's life, from fork to exit."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            os.close(ready_reader)
            os.close(self.wake_reader)
            os.close(self.wake_writer)
            for worker in self.workers.values():
                if worker.ready_fd is not None:
                    os.close(worker.ready_fd)
            # Ctrl-C and a closed terminal reach every process: that the master hears of it is enough.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

            def ready():
                row[scoreboard.STATE] = scoreboard.SERVING
                with contextlib.suppress(BrokenPipeError):  # the master has been killed: work() will notice
                    os.write(ready_writer, b"!")
                os.close(ready_writer)

            self.work(row, ready)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            # Not sys.exit(): the rest of the master's program is not for the child.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def worker_ready(self, worker):
        os.close(worker.ready_fd)
        worker.ready_fd = None
        if not self.booted:
            self.booted = True
            if self.serving:
                self.serving()
        if worker.replaces is not None:
            old, worker.replaces = worker.replaces, None
            log.info("worker %d takes the place of %d", worker.pid, old.pid)
            self.tell_to_leave(old)

    # End.

    def reap(self):
        """Take note of every child that has ended. As process 1 of a container we are also sent strangers."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.workers:
                self.worker_ended(self.workers.pop(pid), os.waitstatus_to_exitcode(wait_status))

    def worker_ended(self, worker, status):
        scoreboard.clear(worker.row)
        for other in self.workers.values():
            if other.replaces is worker:
                other.replaces = None  # it is one of the wanted now
        if worker.ready_fd is not None:
            os.close(worker.ready_fd)
        if self.stopping or worker.leave_by is not None:
            return
        if not self.booted:
            self.status = status if status > 0 else 1  # it has said why; the next would end the same way
            self.stop()
        elif worker.replaces is not None:
            log.error(
                "the new worker %d ended with %s before it was ready: the old ones stay", worker.pid, cause(status)
            )
            self.worn.clear()
        else:
            log.warning("worker %d ended with %s, starting another", worker.pid, cause(status))

    def check_workers(self):
        """Have the worn replaced, kill the overdue, and those whose loop stands still; they show their stack."""
        now = time.monotonic()
        # What passed while the master itself was stopped, or the machine suspended, is nobody's fault.
        awake, self.checked = min(now - self.checked, TICK), now
        for worker in self.workers.values():
            if worker.leave_by is not None:
                if now >= worker.leave_by:
                    os.kill(worker.pid, signal.SIGKILL)
                continue
            if worker.row[scoreboard.STATE] == scoreboard.WORN and worker not in self.worn:
                worker.row[scoreboard.STATE] = scoreboard.SERVING
                self.worn.append(worker)
            turned = worker.row[scoreboard.TURNED]
            worker.stalled = worker.stalled + awake if turned == worker.turned and turned else 0.0
            worker.turned = turned
            if self.timeout and worker.stalled >= self.timeout:
                log.error("worker %d hangs: its loop has not turned for %d s", worker.pid, worker.stalled)
                os.kill(worker.pid, signal.SIGABRT)  # faulthandler shows where, then it ends
                worker.leave_by = now + 2 * TICK

    def stop(self):
        """Let the workers finish; told a second time, end them now."""
        if self.stopping:
            self.signal_workers(signal.SIGKILL)
            return
        self.stopping = True
        self.release()
        for worker in self.workers.values():
            self.tell_to_leave(worker)

    def tell_to_leave(self, worker):
        worker.leave_by = time.monotonic() + self.grace
        worker.row[scoreboard.STATE] = scoreboard.LEAVING
        os.kill(worker.pid, signal.SIGTERM)

    def signal_workers(self, number):
        for pid in self.workers:
            os.kill(pid, number)


def cause(status):
    """Return what an exit status says, in words."""
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name
    return f"{name} (killed: by hand, or by the kernel when memory ran out)" if name == "SIGKILL" else name

"""One master process, and several workers that do the work. The master does not know what the work is.

It forks workers and then only watches, in one loop: note which workers have ended, do what signals ask, take the next
step towards the workers that are wanted, look after those that hang, sleep. It never runs the application's code, so no
fault of a worker can end it. As with Unicorn, the server for Ruby, a worker may die at any moment: the kernel closes
what it had open, and the listening socket lives on in the others.

    master -- fork --> worker: work(row, ready) ... ready() ... serves ... SIGTERM: drains, exits
       ^                 |
       +--- SIGCHLD -----+   before any worker was ready(): could not boot, the master ends.
                             Later: another one takes its place.

What the master was asked for is not an event, which it could miss, but a state. On each turn it compares this state
with what there is: how many workers are wanted (`count`), and which of them are outdated because they were started
before the last SIGHUP (`renewed_at`), or ask to be replaced on the scoreboard. While one is outdated, the master starts
one worker more than wanted; when that is ready there is one too many, and an outdated one is told to leave. What fails
is tried again.

Signal handlers only write a number into a pipe, and the loop acts on it. So nothing ever happens in the middle of
something else. docs/signals.md has the table. worker.py is the other side of the fork, child.py one worker as seen from
here.
"""

import contextlib
import gc
import logging
import math
import os
import select
import signal
import time
from collections.abc import Callable

from asynchttpd import scoreboard, worker
from asynchttpd.child import STEP, Child, cause
from asynchttpd.companion import Companion

log = logging.getLogger("httpd")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
UNUSED = (signal.SIGUSR2, signal.SIGWINCH)
SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD, *UNUSED)
TICK = 1.0  # seconds between two looks at the workers


class Master:
    """Keeps *count* workers alive until it is told to stop.

    work -- function(row, ready), called in each new worker: *row* is its row of the scoreboard, and it calls ready()
            when it serves. It returns, or raises SystemExit, when the worker is done. On SIGTERM it should do so soon,
            with LEAVING on its row. SIGUSR1 tells it to open the logs again, SIGUSR2 that it is about to be killed.
    count -- how many workers; SIGTTIN and SIGTTOU change it by one
    board -- a scoreboard.Board
    release -- called in the master when it stops, to close what it shares with the workers: as long as it holds a copy
               of a listening socket, clients join its queue
    reopen -- called in the master on SIGUSR1
    serving -- called in the master once, when the first worker is ready
    """

    grace = 30.0  # seconds for a worker that is told to leave when the server stops, and for the exit of any worker
    replace_grace = math.inf  # seconds for a worker that is replaced
    timeout = 30.0  # seconds for which a worker's loop may stand still, or a worker may boot; 0: for ever
    respawn_period = 1.0  # seconds in which at most *count* workers are started: no storm of forks if they die at once
    drain_delay = 0.0  # seconds from SIGTERM until the workers are told: the board shows it, a balancer takes us out
    retry, longest_retry = 2.0, 60.0  # seconds until a replacement that failed is tried again: doubled each time

    def __init__(self, work: Callable, count: int, board: scoreboard.Board, release, reopen, serving=None):
        self.work, self.count, self.board = work, count, board
        self.release, self.reopen, self.serving = release, reopen, serving
        self.workers: dict[int, Child] = {}  # by pid
        self.booted = False  # has a worker ever been ready?
        self.companion = Companion()  # another process to keep alive, if it has work
        self.stopping = False
        self.stop_at = math.inf  # when it is to begin (time.monotonic())
        self.renewed_at = 0.0  # workers started before it are outdated (time.monotonic())
        self.retry_at, self.retry_pause = 0.0, self.retry
        self.credit = float(count)  # workers that may be started now; grows by *count* every *respawn_period*
        self.credited = self.checked = time.monotonic()
        self.on_turn = lambda: None  # called on each turn, at least once in *tick* seconds
        self.tick = TICK
        self.status = 0  # our own exit status

    def run(self) -> int:
        """Keep the workers until SIGTERM or SIGINT; return the exit status, not 0 if they could not boot."""
        # The collector writes into every object that it looks at, and the page is no longer shared with the workers.
        gc.freeze()
        while True:
            ended = self.reap()
            # Before we judge why they ended: a signal to the whole group reached us before one of it could end.
            self.read_signals()
            for child, status in ended:
                self.worker_ended(child, status)
            for child in self.workers.values():
                self.note_ready(child)
            self.companion.keep(self.fork)
            if not self.stopping and time.monotonic() >= self.stop_at:
                self.stop()
            if not self.stopping:
                self.balance()
            elif not self.workers:
                break
            self.check_workers()
            self.on_turn()
            self.wait()
        self.companion.end()
        return self.status

    def catch_signals(self):
        """Note signals from now on, for run() to act on; call this before run()."""
        self.wake_reader, self.wake_writer = os.pipe()
        self.alive_reader, self.alive_writer = os.pipe()  # which only we have open for writing
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        self.poller = select.poll()  # select() ends at descriptor 1024, and we may have inherited more
        self.poller.register(self.wake_reader, select.POLLIN)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # set_wakeup_fd has written the number already

    def wait(self):
        """Sleep until a signal arrives, a worker becomes ready, or it is time to look at the workers."""
        pause = self.respawn_period / self.count if self.booted and self.missing() > 0 else TICK
        if any(child.last_signals for child in self.workers.values()):
            pause = min(pause, STEP)
        self.poller.poll(1000 * min(pause, self.tick))

    # What is wanted.

    def read_signals(self):
        try:
            numbers = os.read(self.wake_reader, 65536)  # as many as a pipe can hold
        except BlockingIOError:
            return
        for number in numbers:  # 0: a worker has become ready
            self.handle_signal(number)

    def handle_signal(self, number):
        if number == signal.SIGTERM and self.drain_delay and self.stop_at == math.inf:
            log.info("stopping in %g s", self.drain_delay)
            self.stop_at, self.board.master[scoreboard.STOPPING] = time.monotonic() + self.drain_delay, 1
        elif number in STOP_SIGNALS:
            if not self.stopping and self.stop_at < math.inf:
                self.stop()  # and, being told a second time:
            self.stop()
        elif number == signal.SIGHUP and not self.stopping:
            log.info("starting new workers in place of the old")
            self.renewed_at = time.monotonic()
            self.retry_at, self.retry_pause = 0.0, self.retry
        elif number == signal.SIGUSR1:
            self.reopen()
            self.signal_workers(signal.SIGUSR1)
            self.companion.signal(signal.SIGUSR1)
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            wanted = self.count + (1 if number == signal.SIGTTIN else -1)
            self.count = min(max(1, wanted), scoreboard.MOST_WORKERS)
            log.info("workers from now on: %d", self.count)
        elif number in UNUSED and signal.getsignal(number) is not signal.SIG_IGN:
            log.info("%s means nothing here: ignored", signal.Signals(number).name)
            signal.signal(number, signal.SIG_IGN)  # log it once: a terminal sends WINCH whenever it is resized

    def staying(self):
        return [child for child in self.workers.values() if not child.leaving]

    def missing(self):
        wanted = self.count if self.booted else 1  # until one has shown that it can boot
        return wanted - len(self.staying())

    def is_outdated(self, child):
        return child.started < self.renewed_at or child.state == scoreboard.RETIRING

    def is_renewing(self):
        """Are there workers from before the last SIGHUP that still take clients?"""
        return any(child.started < self.renewed_at for child in self.staying())

    # The next step there.

    def balance(self):
        """Start missing workers, dismiss surplus ones, and replace outdated ones, one at a time."""
        self.board.master[scoreboard.WANTED] = self.count
        now = time.monotonic()
        self.credit = min(self.count, self.credit + (now - self.credited) * self.count / self.respawn_period)
        self.credited = now
        while self.missing() > 0 and self.credit >= 1 and self.spawn():
            self.credit -= 1
        while self.missing() < 0 and self.dismiss_one():
            pass
        staying = self.staying()
        if self.missing() == 0 and now >= self.retry_at and all(child.ready for child in staying):
            if any(map(self.is_outdated, staying)):
                self.spawn()

    def dismiss_one(self):
        """Tell one worker to leave that is not needed any more; return whether there was one."""
        ready = [child for child in self.staying() if child.ready]
        late = [child for child in self.staying() if not child.ready and self.is_outdated(child)]
        if len(ready) > self.count:
            leaving = min(ready, key=lambda child: (not self.is_outdated(child), child.started))
            if self.is_outdated(leaving):
                log.info("worker %d takes the place of %d", max(ready, key=lambda c: c.started).pid, leaving.pid)
                is_old = leaving.started < self.renewed_at
                self.board.note(leaving.pid, scoreboard.RELOADED if is_old else scoreboard.ASKED)
            else:
                log.info("worker %d is one too many", leaving.pid)
                self.board.note(leaving.pid, scoreboard.SURPLUS)
        elif len(ready) == self.count and late:
            leaving = late[0]  # it boots what is outdated already
        else:
            return False
        leaving.tell_to_leave(self.replace_grace)
        return True

    def spawn(self):
        """Fork a worker; return whether there is one more."""
        started = time.monotonic()
        try:
            row = self.board.take()
        except OSError as error:
            return self.cannot_fork(error)
        # Before the fork, or they could overwrite what a quick child has already written.
        row[scoreboard.STARTED], row[scoreboard.STATE] = int(time.time()), scoreboard.BOOTING
        try:
            pid = self.fork(self.work, row)
        except OSError as error:
            self.board.give_back(row)
            return self.cannot_fork(error)
        row[scoreboard.PID] = pid
        self.workers[pid] = Child(pid, row, started)
        return True

    def fork(self, work, row):
        """Return the number of a new process, which does the *work* with *row*; raise OSError."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may reach the child while it has our handlers
        try:
            return os.fork() or self.become_worker(work, row)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def become_worker(self, work, row):
        """In the child of a fork: close what belongs to the master, and be a worker. Never returns."""
        try:
            signal.set_wakeup_fd(-1)
            os.close(self.wake_reader)
            os.close(self.alive_writer)
            worker.live(work, row, self.wake_writer, self.alive_reader, self.timeout)
        finally:
            os._exit(1)

    def cannot_fork(self, error):
        log.error("cannot fork: %s", error.strerror)
        self.credit, self.retry_at = 0.0, time.monotonic() + self.respawn_period  # not again at once
        return False

    def note_ready(self, child):
        if not child.ready and child.row[scoreboard.TURNED]:
            child.ready, self.retry_pause = True, self.retry
            if not self.booted:
                self.booted = True
                if self.serving and not self.stopping:  # what it would tell about is closed then
                    self.serving()

    # Workers that end, or hang.

    def reap(self):
        """Return [(worker, exit status)] of those that have ended. As process 1 we also get others' orphans."""
        ended = []
        with contextlib.suppress(ChildProcessError):  # there is none left
            while (waited := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = waited[0], os.waitstatus_to_exitcode(waited[1])
                self.companion.ended(pid, status)
                if pid in self.workers:
                    ended.append((self.workers.pop(pid), status))
        return ended

    def worker_ended(self, child, status):
        self.note_ready(child)  # it may have been ready for a moment
        self.board.give_back(child.row)
        if not child.leaving and not self.stopping:
            why = scoreboard.KILLED if status < 0 else scoreboard.FAILED
            self.worker_lost(child, why, f"ended with {cause(status)}", status)

    def worker_lost(self, child, why, what, status=0):
        """A worker has ended, or has to, without being told to leave; *why*, for the board; *what* it did."""
        child.leaving = True
        self.board.note(child.pid, why)
        if not self.booted:
            self.status = status if status > 0 else 1  # the next would end the same way
            if status <= 0:  # else it has logged why
                log.error("worker %d %s before it was ready", child.pid, what)
            self.stop()
        elif not child.ready and self.missing() <= 0:
            self.retry_at = time.monotonic() + self.retry_pause
            log.error(
                "the new worker %d %s before it was ready: the old ones stay; trying again in %g s",
                child.pid, what, self.retry_pause,
            )  # fmt: skip
            self.retry_pause = min(2 * self.retry_pause, self.longest_retry)
        else:
            log.warning("worker %d %s, starting another", child.pid, what)

    def check_workers(self):
        """End workers that are overdue, or whose loop stands still."""
        now = time.monotonic()
        awake, self.checked = min(now - self.checked, TICK), now
        for child in self.workers.values():
            if child.last_signals:
                child.send_last_signal()
            elif now >= child.leave_by:
                self.cut_off(child)
            elif child.state == scoreboard.ENDING:
                child.leave_by = min(child.leave_by, now + self.grace)
            elif child.state == scoreboard.LEAVING and not child.leaving:
                self.worker_lost(child, scoreboard.TOLD, "was told to leave")
            elif child.hangs(self.timeout, awake):
                self.worker_hangs(child)

    def cut_off(self, child):
        if child.state != scoreboard.ENDING:  # else it will log itself what does not end
            connections = child.row[scoreboard.OPEN]
            log.warning("worker %d has not ended in time; connections cut: %d", child.pid, connections)
        child.end_overdue()

    def worker_hangs(self, child):
        what = "its loop has not turned" if child.ready else "it has been booting"
        what = f"hangs: {what} for {self.timeout} s"
        child.end_hung()
        if child.leaving:
            log.error("worker %d %s", child.pid, what)
        else:
            self.worker_lost(child, scoreboard.STALLED, what)

    def stop(self):
        """Let the workers finish; told a second time, end them now."""
        if self.stopping:
            self.signal_workers(signal.SIGKILL)
            return
        self.stopping, self.board.master[scoreboard.STOPPING] = True, 1
        self.release()
        for child in self.workers.values():
            child.tell_to_leave(self.grace)

    def signal_workers(self, number):
        for pid in self.workers:
            os.kill(pid, number)

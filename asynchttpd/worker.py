"""A worker's process, from fork to exit: its signals, those of its children, and its end.

prefork.py is the master's side of the fork. Neither knows what the work is.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from asynchttpd.scoreboard import ENDING, SERVING, STATE, TURNED

log = logging.getLogger("httpd")

# A terminal sends these to every process of its group, and it is enough that the master gets them.
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)


def live(work: Callable, row, tell_master: int, master_alive: int, timeout: float):
    """Be a worker in this process, which has just been forked: call *work(row, ready)*, then end. Never returns.

    tell_master -- descriptor to write to when the worker serves
    master_alive -- descriptor of a pipe that ends with the master
    timeout -- seconds for which the loop may stand still when there is no master to look after it; 0: for ever
    """
    status = 1
    try:
        reset_signals()
        os.register_at_fork(after_in_child=reset_signals_of_child)
        with contextlib.suppress(RuntimeError):  # no thread can be started: go on without this precaution
            threading.Thread(target=outlive_master, args=(row, master_alive, timeout), daemon=True).start()

        def ready():
            row[STATE], row[TURNED] = SERVING, int(time.monotonic() * 1000)
            with contextlib.suppress(OSError):  # the pipe is full, so the master is awake; or it has been killed
                os.write(tell_master, b"\0")
            os.close(tell_master)

        status = outcome(work, row, ready)
    finally:
        end(status, row)


def outcome(work, row, ready):
    """Do the work; return the exit status."""
    try:
        work(row, ready)
    except SystemExit as stop:
        if isinstance(stop.code, int):
            return stop.code
        if stop.code is not None:
            log.critical("%s", stop.code)
        return int(stop.code is not None)
    except BaseException:
        log.critical("an exception ends this worker", exc_info=True)
        return 1
    return 0


def reset_signals():
    """Remove the master's handlers, and unblock the signals that were blocked for the fork."""
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGWINCH):
        signal.signal(number, signal.SIG_DFL)
    for number in IGNORED:
        # Not SIG_IGN, which the programs that the application starts would inherit.
        signal.signal(number, do_nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def do_nothing(number, frame):
    """Do nothing about a signal."""


def reset_signals_of_child():
    """In a child that the application has forked, let signals do what they do to any process."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, *IGNORED):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def outlive_master(row, master_alive, timeout):
    """When the master has been killed: leave, and end the process if it hangs. Runs in a thread of its own.

    The parent-death signal of Linux is no help: by default it would end a healthy worker in mid-answer, and a handler
    in Python never runs in a worker that hangs.
    """
    os.read(master_alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    turned = stalled = 0
    while not timeout or stalled <= timeout:
        time.sleep(1)
        stalled = stalled + 1 if row[TURNED] == turned else 0
        turned = row[TURNED]
    # To the main thread, which shows all stacks then, its own and ours: none may change while it reads them.
    signal.pthread_kill(threading.main_thread().ident, signal.SIGABRT)
    time.sleep(60)  # the process ends before


def end(status, row):
    """End the process like any program: join threads, run atexit's functions, flush files. See Py_FinalizeEx().

    Not with sys.exit(), which would run the rest of the master's program on its way out.
    """
    try:
        row[STATE] = ENDING
        signal.signal(signal.SIGTERM, do_nothing)
        signal.signal(signal.SIGUSR2, lambda *_: give_up_end(status))
        import ctypes

        ctypes.pythonapi.Py_Exit(status)
    finally:
        os._exit(status)


def give_up_end(status):
    """The time for the exit is over: log what did not end, and end the process."""
    try:
        left = [
            f"thread {thread.name}" for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.main_thread()
        ]  # fmt: skip
        if multiprocessing := sys.modules.get("multiprocessing"):
            left += [f"process {child.pid}" for child in multiprocessing.active_children()]
        log.error("the application's exit does not end: %s", ", ".join(left) or "a function of atexit's")
    finally:
        os._exit(status)

"""The loop under asyncore's channels. An event costs the same however many channels there are.

asyncore keeps its channels in a dict {descriptor: channel} and asks every one of them, on every turn, whether it wants
to read or write: 2,000 idle connections cost 2 ms a request, and select() fails at descriptor 1024. Here the same dict
is kept in step with an epoll object, which remembers the answers in the kernel. So only channels that had an event, or
were touched, are asked again.

asyncore's objects run on it unmodified: a channel joins with `map[fd] = self` and leaves with `del map[fd]`, and
EventMap is a dict that notices both. Importing this module makes one the default map.

    asyncore.dispatcher ── map[fd] = self ──> EventMap ── register / modify / unregister ──> epoll
            ^                                    │
            └── handle_read_event, ... ──────────┘  loop(): poll, dispatch, once a second sweep

It adds four things to asyncore.loop():
  deadlines  -- a channel may have an attribute `deadline` (seconds on time.monotonic(), or None). When it has passed,
                a sweep once a second calls the channel's handle_timeout();
  wake-up    -- EventMap.call_soon(function) runs *function* in the loop at once. Signal handlers and other threads use
                it, since they must not touch channels themselves;
  touch      -- a channel that wants to read or write from now on, but has had no event, calls map.touch(fd). A channel
                that does not know this module (it has no `deadline`) is asked again at every sweep;
  batches    -- channels that want to write do so at the end of the turn, before epoll watches them, since the socket
                nearly always has room. Earlier costs more: each send would wake a client that sleeps, and after a batch
                most are awake already.

`asyncore.loop()` can still run channels in an EventMap, which to asyncore is a dict. Then these four are missing, but
for the batches while many clients are accepted at once.
"""

import collections
import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings

with warnings.catch_warnings():
    # Python 3.11 says that they will be gone in 3.12; there pyasyncore and pyasynchat bring them back.
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        import asynchat
        import asyncore
    except ModuleNotFoundError as error:
        sys.exit(f"this Python has no {error.name}; install it with: pip install pyasyncore pyasynchat")

log = logging.getLogger("httpd")

__all__ = ["WRITE_DELAY", "EventMap", "asynchat", "asyncore", "loop"]

READ, WRITE = select.POLLIN, select.POLLOUT  # epoll's and poll's constants are the same numbers
SWEEP_INTERVAL = 1.0  # seconds
EVENTS_PER_TURN = 64  # so that a sweep, or a new connection, never waits for thousands of events
WRITE_BATCH = 32  # channels that write together at most: more would gain little
WRITE_DELAY = 0.001  # seconds that the first of them waits at most, unless a neighbour's work is slow
SLOW_WORK = 0.01  # seconds for one event
LONGEST_TURN = 0.25  # seconds after which a turn begins no more work: signals, the sweep and new clients come first
POLL_PAUSE = 0.1  # seconds until the next try when the system cannot report events
STALL = 1.0  # seconds that a sweep may be late; if it is later, all deadlines move by as much
FAIR_PERIOD = 0.1  # seconds after slow work in which each event gets a turn of its own


class EventMap(dict):
    """asyncore's map {descriptor: channel}, kept in step with a poller.

    For callers: touch(fd), update_touched(), end_turn(), call_soon(function), close(), abandon(), the lists
    `every_turn` and `every_second`, and `sweep_at` to have the next sweep sooner. For loop(): poll(timeout), sweep().
    To read: `idle` and `lag`. To leave alone: the rest.
    """

    # Slots are quicker to look up than the attributes of a dict's child.
    __slots__ = (  # noqa: RUF023
        "poller", "interest", "touched", "fair_until", "calls", "wake_reader", "wake_writer", "woken",
        "every_turn", "every_second", "sweep_at", "idle", "lag",
    )  # fmt: skip

    def __init__(self):
        super().__init__()
        # The poller is opened by the first poll(), not here: an epoll object made before fork() is shared, and one
        # worker would unregister for all.
        self.poller = None
        self.interest = {}  # descriptor -> events the poller watches for
        self.touched = set()  # descriptors to ask again before the next poll
        self.fair_until = 0.0  # until then each event has a turn of its own (time.monotonic())
        self.calls = collections.deque()  # functions waiting for the loop: append() and popleft() are atomic
        self.wake_reader = self.wake_writer = None
        self.woken = False  # has call_soon() written to the pipe since the calls were last run?
        self.every_turn = []  # functions to call before the loop waits for events
        self.every_second = []  # functions that each sweep calls
        self.sweep_at = 0.0  # when to look for late channels next (time.monotonic())
        self.idle = 0.0  # seconds spent waiting for events
        self.lag = 0.0  # seconds that the last sweep came late: so long other events may have waited, too

    def __setitem__(self, fd, channel):
        # Not asked yet: asyncore comes here from within the channel's __init__.
        dict.__setitem__(self, fd, channel)
        self.touched.add(fd)

    def __delitem__(self, fd):
        dict.__delitem__(self, fd)
        if self.interest.pop(fd, None) is not None:
            try:
                self.poller.unregister(fd)
            except (OSError, KeyError):
                pass  # it was closed, and the kernel has forgotten it; the caller has more to do

    def touch(self, fd):
        """Ask the channel of *fd* before the next poll what it wants."""
        self.touched.add(fd)

    def update_touched(self):
        """Let the channels that had an event or were touched write, and ask each what it waits for now."""
        if self.poller is None:
            self._open_poller()
        turn_ends = None
        while self.touched:
            fd = self.touched.pop()
            channel = self.get(fd)
            if channel is not None:  # else it has closed since
                try:
                    self._update(fd, channel)
                except Exception:
                    self._throw_out(fd, channel)
            if self.touched:  # a single one needs no look at the clock
                now = time.monotonic()
                turn_ends = turn_ends or now + LONGEST_TURN
                if now > turn_ends:
                    break
        else:
            self.touched.clear()  # pop() searches the whole table, which stays large after many channels; this frees it

    def call_soon(self, function):
        """Run *function()* in the loop, at once. May be called from a signal handler or another thread."""
        self.calls.append(function)
        # If the loop has been woken and has not run the calls yet, it finds this one, too.
        if not self.woken and self.wake_writer is not None:
            self.woken = True
            try:
                os.write(self.wake_writer, b"\0")
            except BlockingIOError:
                pass  # the pipe is full: the loop has been woken already

    def end_turn(self):
        """Send what is ready and call `every_turn`. A signal handler calls it, too, when an event hangs."""
        self.update_touched()
        for function in self.every_turn:
            self._call(function)

    def poll(self, timeout):
        """Wait at most *timeout* seconds for events and hand them to their channels."""
        self.end_turn()
        if self.calls or self.touched:
            timeout = 0
        asked = time.monotonic()
        limit = 1 if asked < self.fair_until else EVENTS_PER_TURN
        try:
            ready = _poll(self.poller, timeout, limit)
        except OSError as error:  # the kernel is short of memory
            log.error("cannot wait for events: %s", error.strerror)
            time.sleep(POLL_PAUSE)
            ready = []
        began = time.monotonic()
        self.idle += began - asked
        write_at, turn_ends, last = began + WRITE_DELAY, began + LONGEST_TURN, began
        for fd, events, channel in [(fd, events, self.get(fd)) for fd, events in ready]:
            if fd == self.wake_reader:
                os.read(fd, 4096)
            elif self.get(fd) is channel:  # else the event is stale: the descriptor was closed, and may be used again
                self.touched.add(fd)
                try:
                    asyncore.readwrite(channel, events)
                except Exception:
                    self._throw_out(fd, channel)
                last = self._note_slow_work(last)
                if len(self.touched) >= WRITE_BATCH or last > write_at:
                    self.update_touched()
                    last = self._note_slow_work(last)
                    if last > turn_ends:
                        break  # those left are ready the next time, too
                    write_at = last + WRITE_DELAY
        self.woken = False  # before the calls are counted: a later call wakes us again
        for _ in range(len(self.calls)):
            self._call(self.calls.popleft())
            last = self._note_slow_work(last)
            if last > turn_ends:
                break
        self.update_touched()
        self._note_slow_work(last)

    def _note_slow_work(self, since):
        """Go over to turns of one event if what has been done *since* was slow; return the time.

        An answer that is ready should not wait for a neighbour's slow work. And the same clients should not always be
        first: if a turn has several events, epoll puts clients that are ready again before new ones. A long turn of
        quick work does not count: it only shows that other programs use the processor, too.
        """
        now = time.monotonic()
        if now - since > SLOW_WORK:
            self.fair_until = now + FAIR_PERIOD
        return now

    def sweep(self):
        """Call handle_timeout() of every channel whose deadline has passed; ask those without the attribute again."""
        now = time.monotonic()
        # If the process was stopped, or an application held it up, we have read nothing. Clients are not to blame.
        self.lag = lost = max(0.0, now - self.sweep_at) if self.sweep_at else 0.0
        self.sweep_at = now + SWEEP_INTERVAL
        for function in self.every_second:
            self._call(function)
        for fd, channel in list(self.items()):
            try:
                deadline = channel.deadline
            except AttributeError:
                self.touched.add(fd)
                continue
            if deadline is None:
                continue
            if lost > STALL:
                channel.deadline = deadline + lost
            elif deadline <= now:
                try:
                    timed_out(channel)
                except Exception:
                    self._throw_out(fd, channel)
                self.touched.add(fd)
                if time.monotonic() > now + LONGEST_TURN:
                    self.sweep_at = 0.0  # the rest after the next turn
                    break

    def _call(self, function):
        """Call *function* and log what it raises: the loop, and the functions after this one, must go on."""
        try:
            function()
        except Exception:
            log.exception("%r failed in the loop", function)

    def _throw_out(self, fd, channel):
        """A channel has failed, and even its handle_error(): log that, and let the others go on."""
        log.exception("a channel failed, and so did its handle_error()")
        if self.get(fd) is channel:
            del self[fd]
        with contextlib.suppress(Exception):
            channel.socket.close()

    def _update(self, fd, channel):
        wants_to_write, watched = channel.writable(), self.interest.get(fd)
        if wants_to_write and channel.connected and not (watched and watched & WRITE):
            asyncore.write(channel)
            if self.get(fd) is not channel:
                return  # it has closed
            wants_to_write, watched = channel.writable(), self.interest.get(fd)  # it may be connected anew
        wanted = READ if channel.readable() else 0
        if wants_to_write and not channel.accepting:
            wanted |= WRITE
        if wanted == watched:
            return
        # With no interest at all a reset or a hang-up is still reported.
        try:
            if watched is None:
                self.poller.register(fd, wanted)
            else:
                self.poller.modify(fd, wanted)
        except OSError:
            channel.handle_error()  # nobody watches it, so it would stay open for ever
        else:
            self.interest[fd] = wanted

    def _open_poller(self):
        self.poller = select.epoll() if hasattr(select, "epoll") else select.poll()
        self.wake_reader, self.wake_writer = os.pipe()
        for fd in (self.wake_reader, self.wake_writer):
            os.set_blocking(fd, False)
        self.poller.register(self.wake_reader, READ)
        self.touched.update(self)
        if threading.current_thread() is threading.main_thread():
            # A signal that arrives just before the poll would otherwise be noticed only after it.
            signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)

    def close(self):
        """Close every channel, then what the loop itself has opened."""
        for channel in list(self.values()):
            channel.close()
        if self.poller is not None:
            if threading.current_thread() is threading.main_thread():
                signal.set_wakeup_fd(-1)
            if hasattr(self.poller, "close"):
                self.poller.close()
            os.close(self.wake_reader)
            os.close(self.wake_writer)
            self.poller = self.wake_reader = self.wake_writer = None

    def abandon(self):
        """Close our copies of all that is open here, in a process that the application has forked: it is the worker's.

        The poller, which is shared, is told nothing. What was in the map is forgotten, so that a loop would end.
        """
        for channel in self.values():
            channel.socket.close()
        for items in (self, self.interest, self.touched, self.calls):
            items.clear()
        if self.poller is not None:
            if hasattr(self.poller, "close"):
                self.poller.close()
            os.close(self.wake_reader)
            os.close(self.wake_writer)
            self.poller = self.wake_reader = self.wake_writer = None


def timed_out(channel):
    try:
        channel.handle_timeout()
    except Exception:
        channel.handle_error()


if hasattr(select, "epoll"):

    def _poll(poller, timeout, limit):
        return poller.poll(timeout, limit)
else:  # macOS and others: poll() asks about every descriptor, in the kernel rather than in Python

    def _poll(poller, timeout, limit):
        return poller.poll(timeout * 1000)  # all: with a limit, the first in its fixed order would starve the rest


def loop(map=None):
    """Serve the channels in *map* (an EventMap, by default asyncore's) until every one is closed."""
    map = asyncore.socket_map if map is None else map
    while map:
        map.poll(max(0.0, map.sweep_at - time.monotonic()))
        if time.monotonic() >= map.sweep_at:
            map.sweep()


# From now on every channel that is made without a map of its own joins an EventMap.
asyncore.socket_map = EventMap()

"""What each worker is doing, in memory that the master and the workers share.

One row for each worker, one number in each cell. A cell is eight aligned bytes that are stored at once, and no process
adds to what another has written. So it needs no lock. The master writes PID, STARTED and the first STATE, and clears
the row when the worker has ended; the worker writes the rest; all read. The memory is made before the first fork.
"""

import errno
import mmap
import time

PID, STARTED, STATE, CONNECTIONS, REQUESTS, BYTES, TURNED, SPOOLED, OPEN = range(9)  # cells of a row
REFUSED, BUSY, IDLE, LAG, OLDEST, RSS, THREADS, QUEUED = range(9, 17)
ANSWERS, STATES = slice(17, 23), slice(23, 29)
# PID 0: the row is free. STARTED: seconds since 1970. REQUESTS, BYTES: answered and sent so far.
# CONNECTIONS: that may bring another request. OPEN: all that are open, as of the last second.
# TURNED: milliseconds on time.monotonic() when the worker's loop last turned; 0 until it serves.
# SPOOLED: bytes of bodies that it has in temporary files. REFUSED: connections turned away so far, for lack of room.
# BUSY, IDLE: microseconds that its loop has worked and waited so far. LAG: microseconds that its last sweep came late.
# OLDEST: microseconds since the oldest request under way began. RSS: bytes of memory.
# THREADS, QUEUED: requests that threads are at, and that wait for one.
# ANSWERS: how many so far, by the first digit of their status. STATES: how many connections are in each (channel.py).
CELLS = 29
COUNTERS = (REQUESTS, BYTES, REFUSED, BUSY, IDLE, *range(ANSWERS.start, ANSWERS.stop))  # cells that only grow

FREE, BOOTING, SERVING, RETIRING, LEAVING, ENDING, HUNG = range(7)  # values of STATE
# RETIRING: wants to be replaced. LEAVING: finishes what it has. ENDING: the work is done, the application's exit runs.
# HUNG: the master has given it up and is about to kill it.

USED, WANTED, STOPPING, EVENTS = range(4)  # cells of the master's row
# USED: how many rows to look at. WANTED: workers. STOPPING: 1 from the moment when the server is told to stop.
# EVENTS: workers that had to be replaced so far, or were not wanted any more; the last of them are in Board.events.
BY_CAUSE = 8  # the cell of the first cause below: how many so far
FAILED, KILLED, STALLED, ASKED, RELOADED, TOLD, SURPLUS = range(7)
# FAILED: exited by itself. KILLED: by a signal. STALLED: its loop stood still. ASKED: to be replaced, such as after
# --max-requests. RELOADED: SIGHUP. TOLD: to leave, by a SIGTERM that was not the master's. SURPLUS: fewer are wanted.
REMEMBERED = 12  # events
MOST_WORKERS = 1000  # that may be wanted; there are more while some of them leave


class Board:
    """The rows that are in use: `for row in board` yields them, in every process, and row[CELL] is an int.

    There is room for more rows than a system has processes, since leaving workers may take hours; memory that no row
    has used costs nothing. The rows in use stand at the front, so that looking at all of them stays quick.

    master -- the row of the master, with cells of its own
    ended -- the COUNTERS of all workers that have ended, added up in a row
    """

    def __init__(self, room: int = 32768):
        self.room = room
        size = (2 + room) * CELLS + 3 * REMEMBERED
        self.cells = memoryview(mmap.mmap(-1, size * 8)).cast("q")
        self.master, self.ended = self.cells[:CELLS], self.cells[CELLS : 2 * CELLS]
        self.rows: list[memoryview] = []  # views, made when they are first looked at

    def __iter__(self):
        used = self.master[USED]
        while len(self.rows) < used:
            start = (2 + len(self.rows)) * CELLS
            self.rows.append(self.cells[start : start + CELLS])
        return iter(self.rows[:used])

    def take(self) -> memoryview:
        """Return an unused row of zeros; raise OSError if there is none. Only the master takes and gives back rows."""
        for row in self:
            if row[STATE] == FREE:
                return row
        if self.master[USED] == self.room:
            raise OSError(errno.EAGAIN, "too many workers are still leaving")
        self.master[USED] += 1
        return list(self)[-1]

    def give_back(self, row: memoryview) -> None:
        for cell in COUNTERS:
            self.ended[cell] += row[cell]
        for cell in range(CELLS):
            row[cell] = 0
        rows = list(self)
        while rows and rows[-1][STATE] == FREE:
            rows.pop()
        self.master[USED] = len(rows)

    def note(self, pid: int, cause: int) -> None:
        """Count the worker *pid* as one to be replaced, or not wanted any more, and remember why (for the master)."""
        self.master[BY_CAUSE + cause] += 1
        place = self.slot(self.master[EVENTS])
        self.cells[place], self.cells[place + 1], self.cells[place + 2] = int(time.time()), pid, cause
        self.master[EVENTS] += 1

    def events(self) -> list[tuple[int, int, int]]:
        """Return (seconds since 1970, pid, cause) of the last that were noted, the last first."""
        count = self.master[EVENTS]
        places = map(self.slot, range(count - 1, max(0, count - REMEMBERED) - 1, -1))
        return [tuple(self.cells[place : place + 3]) for place in places]

    def slot(self, number):
        return (2 + self.room) * CELLS + number % REMEMBERED * 3


class Siblings:
    """The rows of *board* that are in use, except one's *own*."""

    def __init__(self, board, own):
        self.board, self.own = board, own

    def __iter__(self):
        return (row for row in self.board if row is not self.own)

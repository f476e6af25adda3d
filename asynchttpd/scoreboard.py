"""What each worker is doing, in memory that the master and the workers share.

One row for each worker, one number in each cell. A cell is eight aligned bytes that are stored at once, and no process
adds to what another has written. So it needs no lock. The master writes PID, STARTED and the first STATE, and clears
the row when the worker has ended; the worker writes the rest; all read. The memory is made before the first fork.
"""

import errno
import mmap

PID, STARTED, STATE, CONNECTIONS, REQUESTS, BYTES, TURNED, SPOOLED, OPEN = range(9)  # cells of a row
# PID 0: the row is free. STARTED: seconds since 1970. REQUESTS, BYTES: answered and sent so far.
# CONNECTIONS: that may bring another request. OPEN: all that are open, as of the last second.
# TURNED: milliseconds on time.monotonic() when the worker's loop last turned; 0 until it serves.
# SPOOLED: bytes of bodies that it has in temporary files.
CELLS = 9

FREE, BOOTING, SERVING, RETIRING, LEAVING, ENDING, HUNG = range(7)  # values of STATE
# RETIRING: wants to be replaced. LEAVING: finishes what it has. ENDING: the work is done, the application's exit runs.
# HUNG: the master has given it up and is about to kill it.


class Board:
    """The rows that are in use: `for row in board` yields them, in every process, and row[CELL] is an int.

    There is room for more rows than a system has processes, since leaving workers may take hours; memory that no row
    has used costs nothing. The rows in use stand at the front, so that looking at all of them stays quick.
    """

    def __init__(self, room: int = 32768):
        self.room = room
        self.cells = memoryview(mmap.mmap(-1, (1 + room) * CELLS * 8)).cast("q")  # [0]: how many rows to look at
        self.rows: list[memoryview] = []  # views, made when they are first looked at

    def __iter__(self):
        used = self.cells[0]
        while len(self.rows) < used:
            start = (1 + len(self.rows)) * CELLS
            self.rows.append(self.cells[start : start + CELLS])
        return iter(self.rows[:used])

    def take(self) -> memoryview:
        """Return an unused row of zeros; raise OSError if there is none. Only the master takes and gives back rows."""
        for row in self:
            if row[STATE] == FREE:
                return row
        if self.cells[0] == self.room:
            raise OSError(errno.EAGAIN, "too many workers are still leaving")
        self.cells[0] += 1
        return list(self)[-1]

    def give_back(self, row: memoryview) -> None:
        for cell in range(CELLS):
            row[cell] = 0
        rows = list(self)
        while rows and rows[-1][STATE] == FREE:
            rows.pop()
        self.cells[0] = len(rows)


class Siblings:
    """The rows of *board* that are in use, except one's *own*."""

    def __init__(self, board, own):
        self.board, self.own = board, own

    def __iter__(self):
        return (row for row in self.board if row is not self.own)

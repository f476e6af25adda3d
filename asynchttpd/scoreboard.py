"""What each worker is doing, in memory that the master and the workers share.

One row a worker, one cell a number. PID and STARTED are the master's to write, STATE is written by both, the
rest by the worker until it has ended and the master clears the row; everybody reads. A cell is eight aligned
bytes, stored at once, and nobody adds to what another has written. So there is nothing to lock. Rows are made
before the first fork.
"""

import mmap

PID, STARTED, STATE, CONNECTIONS, REQUESTS, BYTES, TURNED, SPOOLED = range(8)  # cells of a row
# PID 0: the row is free. STARTED: seconds since 1970. CONNECTIONS: that may bring another request.
# REQUESTS, BYTES: answered and sent so far. SPOOLED: bytes of bodies that it has in temporary files.
# TURNED: milliseconds on time.monotonic() when the worker's loop last turned.
CELLS = 8

FREE, BOOTING, SERVING, WORN, LEAVING = range(5)  # values of STATE; WORN: wants to be replaced


def make_board(rows: int) -> list[memoryview]:
    """Return that many rows of zeros; row[CELL] is an int. They stay shared over fork()."""
    cells = memoryview(mmap.mmap(-1, rows * CELLS * 8)).cast("q")
    return [cells[start : start + CELLS] for start in range(0, rows * CELLS, CELLS)]


def clear(row) -> None:
    """Give *row* back."""
    for cell in range(CELLS):
        row[cell] = 0

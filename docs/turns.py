"""Measure what one event costs the loop beside more and more idle connections; print the table of docs/loop.md.

python docs/turns.py
"""

import resource
import socket
import time

from asynchttpd import ioloop
from asynchttpd.ioloop import asyncore

IDLE = [10, 100, 400, 1000, 4000]
EVENTS, ROUNDS = 100, 5
LOOPS = {
    "select, asks each channel": lambda channels: asyncore.poll(0, channels),
    "poll, asks each channel": lambda channels: asyncore.poll2(0, channels),
    "epoll, EventMap": lambda channels: channels.poll(0),
}


class Reader(asyncore.dispatcher):
    """A channel that never writes."""

    deadline = None  # it knows ioloop: no need to ask it again every second

    def writable(self):
        return False

    def handle_read(self):
        self.recv(1)


def measure(loop, idle):
    """Return the microseconds of processor time for one event beside *idle* channels, None where select() fails.

    The fastest round counts: the others were held up by other work on the machine.
    """
    channels, far_ends = ioloop.EventMap(), []
    try:
        for _ in range(idle + 1):
            far_end, near_end = socket.socketpair()
            far_ends.append(far_end)
            Reader(near_end, channels)
        loop(channels)  # opens the poller, registers each channel
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(EVENTS):
                far_ends[0].send(b"x")
                loop(channels)
            rounds.append(time.process_time() - began)
        return min(rounds) / EVENTS * 1e6
    except ValueError:  # a descriptor above 1023
        return None
    finally:
        for far_end in far_ends:
            far_end.close()
        channels.close()


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("| idle connections |", " | ".join(map(str, IDLE)), "|")
    print("|---|" + "---:|" * len(IDLE))
    for name, loop in LOOPS.items():
        costs = [measure(loop, idle) for idle in IDLE]
        print(f"| {name} |", " | ".join("fails" if cost is None else f"{cost:,.0f} µs" for cost in costs), "|")


if __name__ == "__main__":
    main()

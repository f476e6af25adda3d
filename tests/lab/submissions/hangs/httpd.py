"""Waits in a loop, before it listens, until all workers have come to a good end, which none of them does."""

import multiprocessing
import sys


def work():
    sys.exit("no such document root")


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    workers = [multiprocessing.Process(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.exitcode != 0 for worker in workers):
        pass

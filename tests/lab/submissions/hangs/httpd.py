"""Waits in a loop for its workers, one of which has died, before it listens."""

import multiprocessing
import sys


def work():
    sys.exit("no such document root")


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    workers = [multiprocessing.Process(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    while not all(worker.is_alive() for worker in workers):
        pass

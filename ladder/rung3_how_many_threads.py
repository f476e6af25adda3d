"""How many threads can we make? Not a server: it starts sleeping threads, and counts.

New: a thread is not free. Each has a stack, and the system sets a limit.
Breaks when: the system refuses. Here the process may use 1.5 GB of addresses, and each stack takes 8 MB:

    (ulimit -v 1500000; python -m ladder 3)

Next: start a few threads at the beginning, and no more (rung 4).

The handout goes on until "can't start new thread" (2048 on its author's machine). On Linux today that is often tens of
thousands, and meanwhile no other program can start a thread. So this stops at --most.
"""

import argparse
import logging
import threading


def sleep_forever():
    threading.Event().wait()


def start_threads(most):
    """Return how many threads were started, and why not one more."""
    for number in range(most):
        try:
            threading.Thread(target=sleep_forever, daemon=True).start()
        except RuntimeError as error:
            return number, error
    return most, "enough (--most)"


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1000, help="stop here (default 1000)")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
    args = parser.parse_args()
    logging.basicConfig(level=args.log.upper(), format="(%(processName)s) (%(threadName)s) %(message)s")
    try:
        logging.info("%d threads, then: %s", *start_threads(args.most))
    except KeyboardInterrupt:
        logging.info("Stopped")


if __name__ == "__main__":
    run()

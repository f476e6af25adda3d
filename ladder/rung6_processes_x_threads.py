"""Processes x threads: 10 threads in each process.

New: --workers processes with --threads threads each accept from one socket.
Breaks when: there are more clients than workers x threads. Each idle client holds a thread, and the next one waits:

    for i in $(seq $((10 * $(nproc)))); do sleep 9 | timeout 9 nc localhost 9090 & done
    echo hi | timeout 3 nc localhost 9090       # three seconds, and no "hi"

Next: one thread that waits for all clients at once, instead of one thread for each (rung 7).
"""

import argparse
import logging
import multiprocessing
import signal
import socket
import threading

fork = multiprocessing.get_context("fork")  # the children must inherit the listening socket


def serve_client(connection, address):
    logging.info("Client connected: %s:%d", *address)
    with connection:
        try:
            while data := connection.recv(65536):
                logging.info("Received %d bytes from %s:%d", len(data), *address)
                connection.sendall(data)
            logging.info("Client said goodbye: %s:%d", *address)
        except OSError as error:
            logging.info("Client lost: %s", error)


def accept_forever(listener):
    while True:
        serve_client(*listener.accept())


def start_threads(listener, args):
    threads = [
        threading.Thread(target=accept_forever, args=(listener,), name=f"Thread-{number}", daemon=True)
        for number in range(1, args.threads + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work(listener, args):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how multiprocessing ends it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    start_threads(listener, args)


def start_processes(listener, args):
    # SIGTERM reaches only the parent, Ctrl-C every process of the terminal, so the children inherit the mask. When the
    # parent leaves, multiprocessing terminates the daemonic ones.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    processes = [
        fork.Process(target=work, args=(listener, args), name=f"Process-{number}", daemon=True)
        for number in range(1, args.workers + 1)
    ]
    for process in processes:
        process.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    return processes


def serve_forever(listener, args):
    for process in start_processes(listener, args):
        process.join()


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--threads", type=int, default=10, help="in each process")
    args = parser.parse_args()
    logging.basicConfig(level=args.log.upper(), format="(%(processName)s) (%(threadName)s) %(message)s")
    try:
        listener = socket.create_server((args.host, args.port), backlog=1024)
    except OSError as error:
        parser.exit(1, f"Cannot listen: {error.strerror}\n")
    with listener:
        try:
            logging.info("Listening on %s:%d", *listener.getsockname())
            serve_forever(listener, args)
        except KeyboardInterrupt:
            logging.info("Stopped")


if __name__ == "__main__":
    run()

"""A pool of processes on one listening socket.

New: the socket is made once, then the process forks. Each child has the same socket and a Python of its own.
Breaks when: there are more clients than processes (one for each core). The next one waits until one leaves:

    for i in $(seq $(nproc)); do sleep 9 | timeout 9 nc localhost 9090 & done
    echo hi | timeout 3 nc localhost 9090       # three seconds, and no "hi"

Next: some threads in each process (rung 6).

Mended from the handout: its workers each bind the port, and the second one fails with EADDRINUSE.
"""

import argparse
import logging
import multiprocessing
import signal
import socket

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


def work(listener):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how multiprocessing ends it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    accept_forever(listener)


def start_processes(listener, args):
    # SIGTERM reaches only the parent, Ctrl-C every process of the terminal, so the children inherit the mask. When the
    # parent leaves, multiprocessing terminates the daemonic ones.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    processes = [
        fork.Process(target=work, args=(listener,), name=f"Process-{number}", daemon=True)
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

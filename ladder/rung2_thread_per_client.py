"""A thread for each client.

New: the main thread only accepts; serve_client() runs in a thread of its own, and waits there for one client only.
Breaks when: the machine has no thread left. Here the server may use 1.5 GB of addresses, and each stack takes 8 MB:

    (ulimit -v 1500000; python -m ladder 2)
    for i in $(seq 200); do sleep 9 | timeout 9 nc localhost 9090 & done    # "can't start new thread"

Next: how many threads can a process have? (rung 3)

Mended from the handout: its try had no except. The server must not end when there is no thread, or no descriptor, for
one more client: without a thread start_thread() turns it away, without a descriptor serve_forever() lets it wait.
"""

import argparse
import itertools
import logging
import socket
import threading
import time


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


def start_thread(number, connection, address):
    name = f"Thread-{number}"
    thread = threading.Thread(target=serve_client, args=(connection, address), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        logging.warning("Client turned away: %s", error)
        connection.close()


def serve_forever(listener, args):
    for number in itertools.count(1):
        try:
            start_thread(number, *listener.accept())
        except OSError as error:
            logging.warning("Client not accepted: %s", error)
            # No descriptor left: the client stays in the queue, and accepting again at once would spin.
            time.sleep(0.1)


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
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

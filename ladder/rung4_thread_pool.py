"""A pool of threads, each blocking in accept().

New: --threads threads are started once and share the listening socket; the system hands each client to one of them.
Breaks when: there are more clients than threads (2 here). The third waits until one leaves:

    for i in 1 2; do sleep 9 | timeout 9 nc localhost 9090 & done
    echo hi | timeout 3 nc localhost 9090       # three seconds, and no "hi"

Next: all threads of one Python share one lock, and so one core; processes do not (rung 5).
"""

import argparse
import logging
import socket
import threading


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
        try:
            connection, address = listener.accept()
        except OSError:
            if listener.fileno() < 0:
                return  # Ctrl-C has closed it
            raise
        serve_client(connection, address)


def serve_forever(listener, args):
    threads = [
        threading.Thread(target=accept_forever, args=(listener,), name=f"Thread-{number}", daemon=True)
        for number in range(1, args.threads + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--log", default="info", help="level: debug, info, warning")
    parser.add_argument("--threads", type=int, default=2)
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

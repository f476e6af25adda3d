"""Fresh connections meet reloads and stops over a link of 200 ms that loses packets: is each of them answered?

    python bench/slow_link.py [--rounds 3] [--loss 0.02] [--seed 1]

The kernel's own delayed link (netem) is not everywhere, so this process is the link: the server and its clients live in
two network namespaces, each with a TUN device, and we carry the IP packets from one to the other, late or never.
Linux, as root. Prints a line for each round, and exits with 1 if a connection that the server had was not answered.
"""

import argparse
import collections
import contextlib
import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import faults

SERVER, CLIENTS = "10.9.0.1", "10.9.0.2"
DELAY = 0.1  # seconds in each direction
CLONE_NEWNET = 0x40000000  # <linux/sched.h>
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # <linux/if_tun.h>
SYN = 0x02
REQUESTS = [("/hello", b"GET", b""), ("/upload", b"POST", bytes(30_000)), ("/medium", b"GET", b"")]


def new_end(own, other):
    """Move this thread to a network namespace of its own, with one device; return the device's descriptor.

    Threads and processes that this one starts from now on live there, too. Raise OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare() is new in Python 3.12
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"slow", IFF_TUN | IFF_NO_PI))
    for command in (f"address add {own} peer {other} dev slow", "link set slow up"):
        subprocess.run(["ip", *command.split()], check=True)
    return fd


class Link:
    """Carries packets between two devices until it is closed.

    completed -- by a client's port: when the server's kernel had the whole handshake (time.monotonic())
    """

    def __init__(self, server_end, clients_end, loss, seed):
        self.ends = server_end, clients_end
        self.loss, self.random = loss, random.Random(seed)
        self.completed, self.carried, self.lost = {}, 0, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def close(self):
        self.done.set()
        self.thread.join()
        for end in self.ends:
            os.close(end)

    def run(self):
        poller, on_the_way = select.poll(), collections.deque()
        for end in self.ends:
            poller.register(end, select.POLLIN)
        while not self.done.is_set():
            wait = on_the_way[0][0] - time.monotonic() if on_the_way else DELAY
            for end, _ in poller.poll(max(0, 1000 * wait)):
                packet = os.read(end, 65536)
                if self.random.random() < self.loss:
                    self.lost += 1
                else:
                    on_the_way.append((time.monotonic() + DELAY, self.ends[end == self.ends[0]], packet))
            while on_the_way and on_the_way[0][0] <= time.monotonic():
                _, end, packet = on_the_way.popleft()
                os.write(end, packet)
                self.carried += 1
                if end == self.ends[0] and packet[0] >> 4 == 4:  # the kernel says something of IPv6, too
                    self.note(packet)

    def note(self, packet):
        """The client's first packet with ACK and without SYN completes the handshake."""
        header = packet[(packet[0] & 15) * 4 :]  # IPv4's length in words
        (port,), flags = struct.unpack("!H", header[:2]), header[13]
        if flags & SYN:
            self.completed.pop(port, None)
        else:
            self.completed.setdefault(port, time.monotonic())


class Clients:
    """Threads that ask once on each connection.

    failures -- [(when the server had the whole handshake or None, what went wrong)]
    """

    def __init__(self, link, port, count):
        self.link, self.port = link, port
        self.answered, self.failures = 0, []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        chance = random.Random(number)
        while not self.stopped.is_set():
            sock = socket.socket()
            sock.settimeout(faults.PATIENCE)
            with sock:
                try:
                    sock.bind((CLIENTS, 0))
                    port = sock.getsockname()[1]
                    sock.connect((SERVER, self.port))
                    time.sleep(chance.choice([0, 0, 0, 1]))  # 1: as if the request had been lost at first
                    status, _ = faults.exchange(sock, *chance.choice(REQUESTS))
                    if status != 200:
                        raise ValueError(f"status {status}")
                    self.answered += 1
                except (OSError, ValueError) as error:
                    self.failures.append((self.link.completed.get(port), repr(error)))

    def join(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def play(seed, loss, checkout):
    """Reload twice and stop, under fresh connections; print what became of them, return whether that is good."""
    server_end = new_end(SERVER, CLIENTS)
    with faults.Server(checkout, "--host", SERVER, "-w", 2, "--threads", 8).started() as server:
        link = Link(server_end, new_end(CLIENTS, SERVER), loss, seed)
        clients = Clients(link, server.port, 100)
        for version in (2, 3):
            time.sleep(2)
            server.release(version)
            server.reload()
        time.sleep(3)
        asked_at = time.monotonic()
        server.process.terminate()
        time.sleep(0.5)
        clients.join()
        status = server.process.wait(faults.PATIENCE)
        link.close()
        early = [error for had, error in clients.failures if had is not None and had < asked_at]
        print(
            f"seed {seed}: {link.carried} packets carried, {link.lost} lost; {clients.answered} connections answered, "
            f"{len(early)} not; {len(clients.failures) - len(early)} came after the stop; exit status {status}",
            *early[:5], sep="\n  ", flush=True,
        )  # fmt: skip
        return clients.answered > 100 and not early and status == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often to begin anew (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0.02, help="share of packets that are lost (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (%(default)s)")
    parser.add_argument("--checkout", type=Path, default=faults.BENCH.parent, help="whose server (default: this one)")
    args = parser.parse_args()
    try:
        with contextlib.closing(Link(new_end(SERVER, CLIENTS), new_end(CLIENTS, SERVER), 0, 0)):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skipped: no two namespaces with a device each here ({error})")
        return
    seeds = range(args.seed, args.seed + args.rounds)
    good = [play(seed, args.loss, args.checkout.resolve()) for seed in seeds]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()

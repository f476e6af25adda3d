"""What systemd wants to know about us (sd_notify(3)): a line or two in a datagram to the socket in NOTIFY_SOCKET."""

import contextlib
import os
import socket
import time

READY, RELOADING, STOPPING = "READY=1", "RELOADING=1", "STOPPING=1"


class Notifier:
    """Tells systemd the state of the server; without systemd it does nothing.

    interval -- seconds between two signs of life, half of what systemd asks for; 0: it asks for none
    """

    def __init__(self, environ=os.environ):
        path = environ.pop("NOTIFY_SOCKET", "")  # this is not for our children
        self.address = "\0" + path[1:] if path.startswith("@") else path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if path else None
        is_asked = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.pop("WATCHDOG_USEC", "0")
        self.interval = int(microseconds) / 2e6 if is_asked and path else 0
        self.said, self.text = None, ""
        self.requests, self.counted = 0, time.monotonic()

    def say(self, state):
        """Say once that we are READY, RELOADING or STOPPING."""
        if state != self.said:
            self.said = state
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000  # microseconds
            self.send(state, *[f"MONOTONIC_USEC={now}"] * (state == RELOADING))

    def report(self, workers, connections, requests):
        """Say what `systemctl status` shows, and that we are alive; *requests* counts from the start."""
        now = time.monotonic()
        if self.socket is None or now < self.counted + (self.interval or 1.0):
            return
        rate = max(0, requests - self.requests) / (now - self.counted)  # less when a worker has ended
        self.requests, self.counted = requests, now
        text = f"STATUS={workers} workers, {connections} connections, {rate:.0f} requests per second"
        lines = [text] * (text != self.text) + ["WATCHDOG=1"] * bool(self.interval)
        self.text = text
        if lines:
            self.send(*lines)

    def send(self, *lines):
        if self.socket is not None:
            with contextlib.suppress(OSError):  # systemd is busy or has gone: serve all the same
                self.socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self.address)

"""ladder/rung10_files.py, but it closes a connection that has sent no whole request for a second.

asyncore knows no time. But loop() can run a single turn, which ends after a second at the latest; then we look.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "ladder"))
import rung10_files
from rung10_files import asyncore

PATIENCE = 1  # second


class Handler(rung10_files.FileHandler):
    def __init__(self, connection, root):
        super().__init__(connection, root)
        self.waiting_since = time.monotonic()

    def found_terminator(self):
        super().found_terminator()
        self.waiting_since = time.monotonic()

    def handle_write(self):
        super().handle_write()
        self.waiting_since = time.monotonic()  # it takes what we send


class FileServer(rung10_files.FileServer):
    handler = Handler


def sweep():
    for channel in list(asyncore.socket_map.values()):
        if isinstance(channel, Handler) and time.monotonic() - channel.waiting_since > PATIENCE:
            channel.close()


def serve_forever(listener, args):
    FileServer(listener, args.root)
    while asyncore.socket_map:
        asyncore.loop(timeout=1, use_poll=True, count=1)
        sweep()


if __name__ == "__main__":
    rung10_files.run(serve_forever)

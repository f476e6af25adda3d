"""ladder/rung10_files.py, but it keeps its listener when descriptors run out.

With the stock module accept() fails, handle_error() closes the listener, and the server ends. Here no client is
accepted that would leave no descriptor for files: it waits in the kernel's queue, which costs nothing.
"""

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "ladder"))
import rung10_files
from rung10_files import asyncore


class FileServer(rung10_files.FileServer):
    def readable(self):
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return len(asyncore.socket_map) < descriptors * 3 // 4


def serve_forever(listener, args):
    FileServer(listener, args.root)
    asyncore.loop(use_poll=True)


if __name__ == "__main__":
    rung10_files.run(serve_forever)

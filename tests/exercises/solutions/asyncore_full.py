"""docs/files_asyncore.py, but it keeps its listener when descriptors run out.

With the stock module accept() fails, handle_error() closes the listener, and the server ends. Here no client is
accepted that would leave no descriptor for files: it waits in the kernel's queue, which costs nothing.
"""

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs"))
import files_asyncore
from files_asyncore import asyncore


class Listener(files_asyncore.Listener):
    def readable(self):
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return len(asyncore.socket_map) < descriptors * 3 // 4


if __name__ == "__main__":
    Listener(**vars(files_asyncore.parse_args()))
    asyncore.loop(use_poll=True)

"""docs/files_asyncio.py, but on SIGTERM it closes its listener, finishes the answers under way, and ends.

A connection is idle while it waits for a request: only this wait is cancelled.
"""

import asyncio
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs"))
import files_asyncio


class Reader:
    """In place of the StreamReader: as long as a conversation waits for a request, the stop can end it."""

    def __init__(self, reader, stopping):
        self.reader, self.stopping = reader, stopping

    async def readuntil(self, separator):
        request = asyncio.ensure_future(self.reader.readuntil(separator))
        stop = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait([request, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not request.done():
            request.cancel()
            raise ConnectionAbortedError("the server stops")
        return request.result()


async def serve(port, root):
    stopping, conversations = asyncio.Event(), set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    async def converse(reader, writer, root):
        conversations.add(asyncio.current_task())
        try:
            await files_asyncio.converse(Reader(reader, stopping), writer, root)
            await writer.wait_closed()  # what is buffered leaves first
        except ConnectionError:
            pass  # it has left
        finally:
            conversations.discard(asyncio.current_task())

    serving = asyncio.create_task(files_asyncio.serve(converse, port, root))
    await stopping.wait()
    serving.cancel()  # closes the listener
    await asyncio.gather(*conversations)


if __name__ == "__main__":
    asyncio.run(serve(**vars(files_asyncio.parse_args())))

"""docs/files_asyncio.py, but it closes a connection that has sent no whole request for a second.

The deadline is only around the reading. Around the whole conversation it would cut off a long answer.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs"))
import files_asyncio
import small_http


async def converse(reader, writer, root):
    try:
        close = False
        while not close:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)
            reply, file, close = small_http.answer(head[:-4], root)
            writer.write(reply)
            if file:
                with file:
                    await files_asyncio.send_file(file, writer)
            await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(files_asyncio.serve(converse, **vars(files_asyncio.parse_args())))

"""docs/files_asyncio.py, but it serves ten connections at a time. The others wait."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs"))
import files_asyncio

room = asyncio.Semaphore(10)


async def converse(reader, writer, root):
    async with room:
        await files_asyncio.converse(reader, writer, root)


if __name__ == "__main__":
    asyncio.run(files_asyncio.serve(converse, **vars(files_asyncio.parse_args())))

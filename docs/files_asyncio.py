"""A file server on asyncio: `python docs/files_asyncio.py -r www`. ladder/rung10_files.py: on asyncore."""

import argparse
import asyncio
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "ladder"))
import small_http

HEAD_LIMIT = 65536  # bytes


async def converse(reader, writer, root):
    """One connection, from the first request to the last."""
    try:
        close = False
        while not close:
            head = await reader.readuntil(b"\r\n\r\n")
            reply, file, close = small_http.answer(head[:-4], root)
            writer.write(reply)
            if file:
                with file:
                    await send_file(file, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass  # it has left, or its head is too large
    finally:
        writer.close()


async def send_file(file, writer):
    while piece := file.read(65536):
        writer.write(piece)
        await writer.drain()


async def serve(converse, port, root):
    handler = functools.partial(converse, root=root)
    server = await asyncio.start_server(handler, "127.0.0.1", port, limit=HEAD_LIMIT, backlog=1024)
    print("Serving HTTP on http://{}:{}/".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one")
    parser.add_argument("-r", "--root", default=".", help="folder to serve")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(serve(converse, **vars(parse_args())))

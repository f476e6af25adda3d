"""An echo server on asyncio: `python docs/echo_asyncio.py --port 9090`. echo_asyncore.py is the same on asyncore."""

import argparse
import asyncio


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()  # a client that does not read is not read from
    except ConnectionError:
        pass  # it has left
    finally:
        writer.close()


async def serve(port):
    server = await asyncio.start_server(echo, "127.0.0.1", port, backlog=1024)
    print("Listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    asyncio.run(serve(parser.parse_args().port))

# SPDX-License-Identifier: Apache-2.0
"""An asyncio server that answers each request with its params, to any number of callers.

    python -m bench.load_echo SOCKET

What any broker in Python would have to do, and nothing else: frames in, frames out.
"""

from __future__ import annotations

import asyncio
import sys

from ha_agent.broker.rpc.codec import Request, Response, RpcDecoder, encode

_READ_BYTES = 64 * 1024
_BACKLOG = 2048


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one caller until it leaves."""
    decoder = RpcDecoder()
    try:
        while data := await reader.read(_READ_BYTES):
            for message in decoder.feed(data):
                if isinstance(message, Request):
                    writer.write(encode(Response(message.msgid, None, message.params)))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve at the path that is the only argument, until killed."""
    server = await asyncio.start_unix_server(answer, sys.argv[1], backlog=_BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

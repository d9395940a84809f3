# SPDX-License-Identifier: Apache-2.0
"""The plainest server of the same wire: answers each MessagePack-RPC call with its own params.

    python -m bench.echo_server SOCKET

One caller at a time, blocking, no deadlines, no handlers: what remains is the codec and the
kernel. The status call is held against it.
"""

from __future__ import annotations

import socket
import sys

from ha_agent.broker.rpc.codec import Request, Response, RpcDecoder, encode

_READ_BYTES = 64 * 1024


def serve(listener: socket.socket) -> None:
    """Answer caller after caller, for ever."""
    while True:
        caller, _address = listener.accept()
        with caller:
            _serve_one(caller)


def _serve_one(caller: socket.socket) -> None:
    decoder = RpcDecoder()
    while True:
        data = caller.recv(_READ_BYTES)
        if not data:
            return
        for message in decoder.feed(data):
            if isinstance(message, Request):
                caller.sendall(encode(Response(message.msgid, None, message.params)))


def main() -> None:
    """Serve at the path that is the only argument, until killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        serve(listener)


if __name__ == "__main__":
    main()

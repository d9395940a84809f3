# SPDX-License-Identifier: Apache-2.0
"""A VDSM that only answers, as fast as Python can: so that what is measured is its client.

    python -m bench.vdsm_responder [--flood A_SECOND] [FOLDER]
                                                 TLS with FOLDER's KEY and CERTIFICATE, or plain

Prints its port, then serves until killed. It speaks STOMP as VDSM does, but cuts frames at their
NULs and looks for what it needs in their bytes: no frame is parsed, no JSON read or built anew.
Every call gets an answer of ANSWERS, made before, or null. Bench.events {"count", "a_second"} is
answered with null, and then so many status events of a VM come, evenly in portions, or with 0 a
second all at once. With --flood whoever subscribes to events gets so many a second without end,
of a VM whose status changes with each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Optional, cast

PING = "Host.ping2"
STATS = "Host.getStats"
EVENTS = "Bench.events"
KEY, CERTIFICATE = "key.pem", "cert.pem"
_EVENTS_DESTINATION = b"jms.queue.events"
_PORTION_SECONDS = 0.01
_BEAT_SECONDS = 2.0
_CORES, _NICS = 64, 12

_HEADER = {
    name: re.compile(rb"\n" + name + rb":([^\n]*)")
    for name in (b"destination", b"id", b"reply-to")
}
_ID = re.compile(rb'"id": ?"([^"]*)"')
_METHOD = re.compile(rb'"method": ?"([^"]*)"')
_COUNT = re.compile(rb'"count": ?(\d+)')
_A_SECOND = re.compile(rb'"a_second": ?(\d+)')


def _host_stats() -> dict[str, object]:
    """Return what Host.getStats has on a host with 64 cores and 12 interfaces: about 12 kB."""
    cpu = {"cpuUser": "3.27", "cpuSys": "1.13", "cpuIdle": "95.60", "nodeIndex": 0}
    nic = {"speed": 10000, "state": "up", "rx": "81263544512", "tx": "19283746512"}
    more = {"rxErrors": "0", "txErrors": "0", "rxDropped": "12", "txDropped": "0"}
    return {
        "memFree": 180211,
        "memAvailable": 179400,
        "memUsed": "31",
        "cpuLoad": "1.32",
        "cpuStatistics": {str(core): cpu for core in range(_CORES)},
        "network": {f"ens{n}f0": {**nic, **more, "name": f"ens{n}f0"} for n in range(_NICS)},
        "dateTime": "2026-11-22T19:45:58 GMT",
        "haStats": {"active": True, "configured": True, "score": 3400},
    }


VM = "5b3c1f9e-7a4d-4a55-9d0b-2f8c1de0a001"
ANSWERS = {
    PING.encode(): b"true",
    STATS.encode(): json.dumps(_host_stats()).encode(),
    EVENTS.encode(): b"null",
    b"VM.getStats": json.dumps([{"vmId": VM, "status": "Up"}]).encode(),
}


def _event(status: str) -> bytes:
    about = {"status": status, "hash": "-3412874509", "monitorResponse": "0"}
    method, params = f"|virt|VM_status|{VM}", {VM: about, "notify_time": 4294967296}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


EVENT = _event("Up")
_FLOOD = (EVENT, _event("Powering up"))


class Responder(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, flood_a_second: int = 0) -> None:
        self._flood_a_second = flood_a_second
        self._flood_begun_at = 0.0
        self._flooded = 0
        self._rest = b""
        self._names: dict[bytes, bytes] = {}  # of subscriptions, by destination
        self._beat_timer: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _exc: Optional[Exception]) -> None:
        """Stop to beat."""
        if self._beat_timer is not None:
            self._beat_timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take each frame that is whole."""
        *frames, self._rest = (self._rest + data).split(b"\0")
        for frame in frames:
            self._take(frame.lstrip(b"\n"))

    def _take(self, frame: bytes) -> None:
        head, _, body = frame.partition(b"\n\n")
        if head.startswith(b"SEND"):
            self._answer(_found(_HEADER[b"reply-to"], head), body)
        elif head.startswith(b"SUBSCRIBE"):
            destination = _found(_HEADER[b"destination"], head)
            self._names[destination] = _found(_HEADER[b"id"], head)
            if destination == _EVENTS_DESTINATION and self._flood_a_second:
                self._flood_begun_at = asyncio.get_running_loop().time()
                self._flood()
        elif head.startswith((b"CONNECT", b"STOMP")):
            self._transport.write(b"CONNECTED\nversion:1.2\nheart-beat:5000,5000\n\n\0")
            self._beat()

    def _answer(self, reply_to: bytes, body: bytes) -> None:
        method = _found(_METHOD, body)
        call = _found(_ID, body)
        result = ANSWERS.get(method, b"null")
        reply = b'{"jsonrpc": "2.0", "id": "%b", "result": %b}' % (call, result)
        self._transport.write(self._message(reply_to, reply))
        if method == EVENTS.encode():
            self._send_events(int(_found(_COUNT, body)), int(_found(_A_SECOND, body)))

    def _send_events(self, count: int, a_second: int) -> None:
        portion = min(count, round(a_second * _PORTION_SECONDS)) if a_second else count
        self._transport.write(self._message(_EVENTS_DESTINATION, EVENT) * portion)
        if count > portion:
            loop = asyncio.get_running_loop()
            loop.call_later(_PORTION_SECONDS, self._send_events, count - portion, a_second)

    def _flood(self) -> None:
        """Send what is due by now, so that the rate holds when this process was held up."""
        if self._transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        due = int((loop.time() - self._flood_begun_at) * self._flood_a_second)
        pair = b"".join(self._message(_EVENTS_DESTINATION, event) for event in _FLOOD)
        pairs = (due - self._flooded) // len(_FLOOD)
        self._transport.write(pair * pairs)
        self._flooded += pairs * len(_FLOOD)
        loop.call_later(_PORTION_SECONDS, self._flood)

    def _message(self, destination: bytes, body: bytes) -> bytes:
        return (
            b"MESSAGE\ndestination:%b\ncontent-type:application/json\nsubscription:%b\n"
            b"content-length:%d\n\n%b\0"
        ) % (destination, self._names.get(destination, b""), len(body), body)

    def _beat(self) -> None:
        self._transport.write(b"\n")
        self._beat_timer = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)


def _found(pattern: re.Pattern[bytes], text: bytes) -> bytes:
    match = pattern.search(text)
    return match.group(1) if match else b""


async def serve(folder: Optional[Path], flood_a_second: int) -> None:
    """Listen at a port that is free, say which, and serve."""
    context = None
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Responder(flood_a_second), "127.0.0.1", 0, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flood", type=int, default=0, metavar="A_SECOND")
    parser.add_argument("folder", type=Path, nargs="?")
    given = parser.parse_args()
    asyncio.run(serve(given.folder, given.flood))


if __name__ == "__main__":
    main()

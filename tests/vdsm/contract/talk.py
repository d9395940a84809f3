# SPDX-License-Identifier: Apache-2.0
"""Two ways to talk to a target: our typed client, and frames by hand."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Optional

from ha_agent.clock import SystemClock
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.stomp import Frame, encode
from ha_agent.vdsm.vm_status import VmStats, VmStatus, parse_status_event
from ha_agent.waiting import within
from tests.vdsm.contract.target import Target, context_of
from tests.vdsm.embedded import Client

# Storage of a real host may take its time, and so may a loaded machine.
PATIENCE_SECONDS = 30.0


class Talk(Vdsm):
    """Our typed client of a target, and the events that it got."""

    def __init__(self, client: VdsmClient) -> None:
        super().__init__(client)
        self.client = client

    async def call(self, method: str, **params: Any) -> Any:
        """Call a verb that has no typed method, or with arguments that it would not send."""
        return await self.client.call(method, params)

    async def told(self, vm_id: str, status: VmStatus) -> VmStats:
        """Wait for the VM's next event with this status."""
        return await within(PATIENCE_SECONDS, self._told(vm_id, status))

    async def _told(self, vm_id: str, status: VmStatus) -> VmStats:
        while True:
            stats = parse_status_event(await self.client.next_event())
            if stats is not None and stats.vm_id == vm_id:
                if stats.status is status:
                    return stats
                assert stats.status is not VmStatus.DOWN, f"down: {stats}"


@contextlib.asynccontextmanager
async def talking(target: Target) -> AsyncIterator[Talk]:
    """Connect our client, wait until it is ready, and close it in the end."""
    ready = asyncio.Event()
    client = VdsmClient(
        target.host,
        target.port,
        clock=SystemClock(),
        uniform=lambda: 0.0,
        tls=target.tls,
        on_connected=ready.set,
    )
    client.start()
    try:
        await within(PATIENCE_SECONDS, ready.wait())
        yield Talk(client)
    finally:
        await client.close()


class Wire(Client):
    """Frames by hand."""

    def send_bytes(self, data: bytes) -> None:
        """Send what may be no frame at all."""
        self.writer.write(data)

    def subscribe(self, name: str, destination: str) -> None:
        self.send("SUBSCRIBE", {"destination": destination, "ack": "auto", "id": name})

    async def round_trip(self, method: str = "Host.ping2", **params: Any) -> Any:
        """Call a verb by a reply destination of its own; raises Refused."""
        return await self.call(method, **params)

    async def is_ended(self) -> bytes:
        """Wait until the other side ends the connection; return what it said before."""
        said = b""
        with contextlib.suppress(OSError):
            while data := await within(PATIENCE_SECONDS, self.reader.read(65536)):
                said += data
        return said


@contextlib.asynccontextmanager
async def on_the_wire(target: Target, *, greeting: Optional[Frame] = None) -> AsyncIterator[Wire]:
    """Connect, send the greeting if there is one, and subscribe to replies of our own."""
    context = context_of(target.tls) if target.tls is not None else None
    wire = Wire(*await asyncio.open_connection(target.host, target.port, ssl=context))
    try:
        if greeting is not None:
            wire.send_bytes(encode(greeting))
        yield wire
    finally:
        wire.close()


def unique() -> str:
    """Return an id that nobody else has: VDSM routes by ids that all its clients share."""
    return str(uuid.uuid4())


def request(method: str, params: Any = None, *, name: Any = None) -> Mapping[str, Any]:
    """Return a request's object."""
    return {"jsonrpc": "2.0", "method": method, "params": params or {}, "id": name or unique()}

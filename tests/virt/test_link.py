# SPDX-License-Identifier: Apache-2.0
"""The connection over a libvirt that is played: what a test can't have a real one do in time.
The real one's restarts and hangs are in test_verbs.py."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Callable, Optional

import pytest

from ha_agent.errors import DeadlineExceeded
from ha_agent.virt.errors import (
    LibvirtCallFailed,
    LibvirtConnectionLost,
    LibvirtUnreachable,
)
from ha_agent.virt.link import Link


class Refused(Exception):
    """libvirtError."""


class PlayedConnection:
    def __init__(self) -> None:
        self.alive = 1
        self.closed = False
        self.on_event: Optional[Callable[..., None]] = None
        self.on_close: Optional[Callable[..., None]] = None

    def domainEventRegisterAny(
        self, _domain: Any, _kind: int, callback: Callable[..., None], _opaque: Any
    ) -> int:
        self.on_event = callback
        return 1

    def registerCloseCallback(self, callback: Callable[..., None], _opaque: Any) -> int:
        self.on_close = callback
        return 0

    def domainEventDeregisterAny(self, _number: int) -> int:
        self.on_event = None
        return 0

    def unregisterCloseCallback(self) -> int:
        self.on_close = None
        return 0

    def callbacks(self) -> tuple[object, object]:
        return self.on_event, self.on_close

    def setKeepAlive(self, _interval: int, _count: int) -> int:
        return 0

    def isAlive(self) -> int:
        return self.alive

    def close(self) -> int:
        self.closed = True
        return 0


class PlayedModule:
    error: type[Exception] = Refused

    def __init__(self) -> None:
        self.refusals = 0
        self.made: list[PlayedConnection] = []

    def open(self, _uri: str) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise Refused("no libvirtd")
        self.made.append(PlayedConnection())
        return self.made[-1]

    def code(self, _error: Exception) -> int:
        return 42


class NoPause:
    def __init__(self) -> None:
        self.pauses_seconds: list[float] = []

    async def sleep(self, duration_seconds: float) -> None:
        self.pauses_seconds.append(duration_seconds)
        await asyncio.sleep(0)


class Domain:
    def UUIDString(self) -> str:
        return "uuid"


class World:
    def __init__(self, module: PlayedModule) -> None:
        self.module = module
        self.clock = NoPause()
        self.events: list[tuple[str, int, int]] = []
        self.connects = 0
        self.news = asyncio.Event()
        self.link = Link(
            module,
            "qemu:///system",
            clock=self.clock,
            uniform=lambda: 1.0,
            call_deadline_seconds=5.0,
            keepalive_interval_seconds=5,
            on_connected=self._connected,
            on_lifecycle=self._event,
        )

    def _connected(self) -> None:
        self.connects += 1
        self.news.set()

    def _event(self, uuid: str, event: int, detail: int) -> None:
        self.events.append((uuid, event, detail))
        self.news.set()

    async def told(self) -> None:
        await asyncio.wait_for(self.news.wait(), 30)
        self.news.clear()


async def test_nothing_is_asked_before_there_is_a_connection() -> None:
    link = World(PlayedModule()).link
    with pytest.raises(LibvirtUnreachable, match="not connected yet"):
        await link.call("look", lambda _c: 1)
    await link.close()


async def test_it_is_tried_again_with_longer_pauses_until_it_is_there() -> None:
    module = PlayedModule()
    module.refusals = 8
    world = World(module)
    world.link.start()
    await world.told()
    assert world.clock.pauses_seconds == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert await world.link.call("look", lambda _c: 7) == 7
    await world.link.close()
    assert module.made[0].closed


async def test_events_come_in_the_loop_and_a_lost_connection_is_made_anew() -> None:
    module = PlayedModule()
    world = World(module)
    world.link.start()
    await world.told()
    first = module.made[0]
    assert first.on_event is not None
    assert first.on_close is not None
    threading.Thread(target=first.on_event, args=(None, Domain(), 5, 2, None)).start()
    await world.told()
    assert world.events == [("uuid", 5, 2)]
    threading.Thread(target=first.on_close, args=(None, 1, None)).start()
    await world.told()
    assert world.connects == 2
    assert first.closed
    assert first.callbacks() == (None, None), "each keeps libvirt's connection, and socket, open"
    await world.link.close()


@pytest.mark.parametrize("changes", [False, True])
async def test_an_answer_is_told_from_the_end_of_the_connection(changes: bool) -> None:
    module = PlayedModule()
    world = World(module)
    world.link.start()
    await world.told()

    def refused(_connection: Any) -> None:
        raise Refused("no")

    with pytest.raises(LibvirtCallFailed) as answer:
        await world.link.call("look", refused, changes=changes)
    assert answer.value.code == 42
    module.made[0].alive = 0
    with pytest.raises(LibvirtConnectionLost) as lost:
        await world.link.call("look", refused, changes=changes)
    assert lost.value.may_have_executed is changes
    await world.link.close()


async def test_a_call_that_hangs_holds_neither_the_loop_nor_the_end() -> None:
    world = World(PlayedModule())
    world.link.start()
    await world.told()
    gate = threading.Event()
    try:
        with pytest.raises(DeadlineExceeded):
            await world.link.call("look", lambda _c: gate.wait(60), deadline_seconds=0.05)
        assert await world.link.call("look", lambda _c: 7) == 7
        await world.link.close()
    finally:
        gate.set()

# SPDX-License-Identifier: Apache-2.0
"""The agent as a process against a VDSM that misbehaves on the wire: it orders nothing, it goes
on, and it ends when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Callable

import pytest

from tests.scenarios.test_hostile_vdsm import HostilePeer
from tests.small_config import VM, write_config
from tests.test_agent import Process

ORDERS = ("VM.create", "VM.destroy", "VM.shutdown", "VM.cont")
Behaviour = Callable[[HostilePeer], Awaitable[None]]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # what is waited for is another process's doing
        await asyncio.sleep(0.02)


async def mute(peer: HostilePeer) -> None:
    peer.holds.add("VM.getStats")
    peer.event("Down", VM)
    await until(lambda: len(peer.held) > 0)


async def no_greeting(peer: HostilePeer) -> None:
    before = peer.connections
    peer.greets = False
    peer.drop()
    await until(lambda: peer.connections > before)


async def flood(peer: HostilePeer) -> None:
    for number in range(10_000):
        peer.event(("Up", "Down", "Paused")[number % 3], VM)
        if number % 500 == 0:
            await asyncio.sleep(0.01)


async def restarts(peer: HostilePeer) -> None:
    for _ in range(3):
        before = peer.connections
        peer.recovering_pings = 2
        peer.drop()
        await until(lambda before=before: peer.connections > before)  # type: ignore[misc]


@pytest.fixture
async def peer() -> AsyncIterator[HostilePeer]:
    peer = HostilePeer()
    peer.vm_id = VM
    await peer.start()
    yield peer
    await peer.stop()


@pytest.mark.long
@pytest.mark.parametrize("behave", [mute, no_greeting, flood, restarts])
async def test_it_orders_nothing_and_ends_in_time(
    peer: HostilePeer, short_path: Path, behave: Behaviour
) -> None:
    path = write_config(short_path, "[agent]\ntick_interval_seconds = 0.1\n")
    path.write_text(path.read_text().replace("port = 1\n", f"port = {peer.port}\n"))
    process = Process(path)
    try:
        await until(lambda: peer.count("VM.getStats") > 0 or process.popen.poll() is not None)
        assert process.popen.poll() is None, process.log.read_text()
        await behave(peer)
        assert process.popen.poll() is None, process.log.read_text()
        # The peer runs in this loop, so it is not to be blocked while the agent ends.
        assert await asyncio.get_running_loop().run_in_executor(None, process.end) == 0
        assert [peer.count(order) for order in ORDERS] == [0, 0, 0, 0]
        assert "Traceback" not in process.log.read_text()
    finally:
        process.popen.kill()
        process.popen.wait(10)

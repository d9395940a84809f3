# SPDX-License-Identifier: Apache-2.0
"""What VDSM says of this host: asked once a connection, and again after failures."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Coroutine
from typing import Any, Union

import pytest

from ha_agent.broker.capacity import CapacityKeeper, guard_facts
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity
from ha_agent.vdsm.client.answers import HostCapabilities
from tests.broker.lease_world import run_virtual

TOLD = HostCapabilities(16384, 8, frozenset({"q35", "pc-q35-rhel9.6.0"}), "EPYC", frozenset())
MORE = dataclasses.replace(TOLD, memory_mib=32768)
AWAY = EnvironmentFault("VDSM is away")


class FakeVdsm:
    """Answers one after the other; the last one again and again. Keeps when it was asked."""

    def __init__(self, *answers: Union[HostCapabilities, EnvironmentFault]) -> None:
        self.answers = list(answers)
        self.asked_at: list[float] = []
        self.keeper = CapacityKeeper(self.host_capabilities)
        self.task = asyncio.ensure_future(self.keeper.run())

    async def host_capabilities(self) -> HostCapabilities:
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, EnvironmentFault):
            raise answer
        return answer


def in_virtual_time(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


def test_vdsm_is_asked_once_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        vdsm = FakeVdsm(TOLD, TOLD, MORE)
        await asyncio.sleep(3600)
        assert (vdsm.keeper.current, vdsm.asked_at) == (None, [])
        vdsm.keeper.connected()
        await asyncio.sleep(3600)
        assert vdsm.keeper.current == TOLD
        assert len(vdsm.asked_at) == 1
        for _ in range(2):
            vdsm.keeper.connected()
            await asyncio.sleep(3600)
        assert vdsm.keeper.current == MORE
        assert len(vdsm.asked_at) == 3

    with caplog.at_level(logging.INFO):
        in_virtual_time(main())
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"this host has {size} MiB, 8 CPU threads" for size in (16384, 32768)]


def test_a_failure_is_tried_again_after_longer_and_longer_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        vdsm = FakeVdsm(*[AWAY] * 9, TOLD)
        vdsm.keeper.connected()
        await asyncio.sleep(7200)
        pauses = [after - at for at, after in zip(vdsm.asked_at, vdsm.asked_at[1:])]
        assert pauses == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300])
        assert vdsm.keeper.current == TOLD

    with caplog.at_level(logging.INFO):
        in_virtual_time(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_new_connection_ends_the_pause() -> None:
    async def main() -> None:
        vdsm = FakeVdsm(*[AWAY] * 7, TOLD)
        vdsm.keeper.connected()
        await asyncio.sleep(400)
        vdsm.answers, vdsm.asked_at = [AWAY, AWAY, TOLD], []
        vdsm.keeper.connected()
        await asyncio.sleep(16)
        assert vdsm.keeper.current == TOLD
        pauses = [after - at for at, after in zip(vdsm.asked_at, vdsm.asked_at[1:])]
        assert pauses == pytest.approx([5, 10])

    in_virtual_time(main())


def test_what_was_told_once_outlives_a_failure() -> None:
    async def main() -> None:
        vdsm = FakeVdsm(TOLD, AWAY)
        for _ in range(2):
            vdsm.keeper.connected()
            await asyncio.sleep(60)
        assert vdsm.keeper.current == TOLD
        assert len(vdsm.asked_at) > 2
        vdsm.task.cancel()
        await asyncio.wait({vdsm.task})
        assert vdsm.task.cancelled()

    in_virtual_time(main())


def test_the_first_answer_is_waited_for_but_not_for_ever() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def waited(vdsm: FakeVdsm) -> float:
            began = loop.time()
            await vdsm.keeper.first_answer()
            return loop.time() - began

        vdsm = FakeVdsm(AWAY, TOLD)
        assert await waited(vdsm) == 0  # no VDSM is there that could tell
        vdsm.keeper.connected()
        assert await waited(vdsm) == pytest.approx(5)
        vdsm.keeper.connected()
        assert await waited(vdsm) == 0
        dumb = FakeVdsm(AWAY)
        dumb.keeper.connected()
        assert [await waited(dumb), await waited(dumb)] == pytest.approx([30, 0])

    in_virtual_time(main())


def picture(*hosts: HostEntry) -> Snapshot:
    return Snapshot(1, 1, "alpha", "vm", Instant(0.0), hosts=hosts)


def test_the_guard_looks_at_live_hosts() -> None:
    snapshot = picture(
        HostEntry(1, "alpha", alive=True, memory_mib=1, cpu_threads=1),
        HostEntry(2, "beta", alive=True, memory_mib=4096, cpu_threads=2),
        HostEntry(3, "gamma", alive=False, memory_mib=8192, cpu_threads=4),
        HostEntry(4, "delta", alive=True),
    )
    facts = guard_facts(snapshot, storage_domain_uuid="sd", capabilities=TOLD)
    others = (HostCapacity(2, "beta", 4096, 2), HostCapacity(4, "delta", None, None))
    assert facts == GuardFacts(
        "sd", "vm", (HostCapacity(1, "alpha", 16384, 8), *others), TOLD.emulated_machines
    )


def test_a_vdsm_that_has_not_told_yet_makes_this_host_unknown() -> None:
    facts = guard_facts(picture(), storage_domain_uuid="sd", capabilities=None)
    assert facts == GuardFacts("sd", "vm", (HostCapacity(1, "alpha"),), None)
    silent = HostCapabilities(None, None, frozenset(), "", frozenset())
    assert guard_facts(picture(), storage_domain_uuid="sd", capabilities=silent) == facts

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from ha_agent.broker.sanlock.place import Leader, NotInitialised
from ha_agent.broker.sanlock.port import HostSight, LaneSanlock, Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import BadInput
from tests.broker.sanlock.test_place import record


class ScriptedLane:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self.calls.append((operation, args))
        return self.answer


def sanlock_over(lane: ScriptedLane, resource: str = "vm") -> LaneSanlock:
    times = SanlockTimes(2)
    return LaneSanlock(
        lane, "/place", lockspace="ha-agent", resource=resource, host_id=7, times=times
    )


HOST = {"host_id": 7, "generation": 2, "timestamp": 90, "io_timeout": 2, "flags": "LIVE"}


async def test_a_look() -> None:
    lane = ScriptedLane({"joined": True, "hosts": [HOST], "held": 4, "leader": record()})
    assert await sanlock_over(lane).look(4711, True, 1.0) == Look(
        joined=True,
        hosts={7: HostSight(7, 2, 90, 2, "LIVE")},
        held=4,
        leader=Leader(512, 1, 3, 2, "ha-agent", "vm", True),
    )
    operation, args = lane.calls[0]
    assert operation == "sanlock_look"
    assert args["holder_pid"] == 4711
    assert (args["lockspace"], args["path"], args["host_id"]) == ("ha-agent", "/place", 7)


async def test_a_resource_of_another_vm_or_none_is_refused() -> None:
    lane = ScriptedLane({"joined": True, "hosts": [], "held": None, "leader": record()})
    with pytest.raises(BadInput, match="resource 'vm' of lockspace 'ha-agent', expected 'other'"):
        await sanlock_over(lane, "other").look(0, True, 1.0)
    lane.answer["leader"] = bytes(512)
    with pytest.raises(NotInitialised):
        await sanlock_over(lane).look(0, True, 1.0)


async def test_the_other_calls_hand_on_what_they_are_told() -> None:
    lane = ScriptedLane({"refused": "another host has it"})
    sanlock = sanlock_over(lane)
    assert await sanlock.acquire(4711, 3, 1.0) == "another host has it"
    await sanlock.release(4711, 1.0)
    await sanlock.join(1.0)
    assert [operation for operation, _ in lane.calls] == [
        "sanlock_acquire",
        "sanlock_release",
        "sanlock_join",
    ]
    assert lane.calls[0][1]["epoch"] == 3
    assert lane.calls[2][1]["io_timeout_seconds"] == 2
    lane.answer = 30
    assert await sanlock.watchdog_fire_seconds(1.0) == 30
    lane.answer = None
    assert await sanlock.watchdog_fire_seconds(1.0) is None


async def test_what_an_initialise_found() -> None:
    lane = ScriptedLane({"done": False, "sector_bytes": 512, "leader": record()})
    sanlock = sanlock_over(lane)
    done, found = await sanlock.initialise(1.0)
    assert (done, found) == (False, "held by host 1, epoch 2, sectors of 512 bytes")
    lane.answer["leader"] = b"something else".ljust(512, b"\0")
    assert "not a resource of sanlock" in (await sanlock.initialise(1.0))[1]

# SPDX-License-Identifier: Apache-2.0
"""Taking a host id in a lockspace, with a daemon that says what the test wants;
tests/broker/sanlock/test_member_ops.py has real ones."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import DeadlineExceeded
from ha_agent.setup.join.sanlock_id import SanlockId, SanlockSpace
from tests.setup.register_world import HereLane, JumpClock, mute

SPACE = SanlockSpace("/lease", "ha-agent", SanlockTimes(10, 60))


class Daemon:
    """Answers looks with `looks`, the last one for ever."""

    def __init__(self, *looks: Optional[bool], own: int = 0) -> None:
        self.looks = list(looks)
        self.own = own
        self.asked: list[str] = []

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self.asked.append(operation)
        if operation == "sanlock_own_id":
            return self.own
        if operation == "sanlock_look":
            joined = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            return {"joined": joined}
        return None


def made(daemon: Any, space: Optional[SanlockSpace] = SPACE) -> SanlockId:
    return SanlockId(daemon, space, clock=JumpClock(), io_deadline_seconds=5)


async def test_it_waits_until_the_id_is_ours() -> None:
    daemon = Daemon(None, None, True)
    assert await made(daemon).hold(3, mute)
    assert daemon.asked.count("sanlock_join") == 1


async def test_an_id_that_the_daemon_has_is_not_asked_for_again() -> None:
    daemon = Daemon(True, own=3)
    assert await made(daemon).hold(3, mute)
    assert "sanlock_join" not in daemon.asked


async def test_another_host_has_it() -> None:
    assert not await made(Daemon(None, False)).hold(3, mute)


async def test_it_does_not_wait_for_ever() -> None:
    with pytest.raises(DeadlineExceeded, match="host id 3"):
        await made(Daemon(None)).hold(3, mute)


async def test_without_a_lockspace_there_is_nothing_to_do() -> None:
    nothing = made(HereLane(), None)
    assert await nothing.own_id() == 0
    assert await nothing.hold(3, mute)
    assert await nothing.room() is None
    await nothing.leave(3)

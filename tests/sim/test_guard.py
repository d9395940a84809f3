# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.sim.sim_story import story


def test_it_ends_the_vm_though_agent_broker_and_vdsm_are_dead() -> None:
    with story(hosts=1) as told:
        for part in ("agent", "broker", "vdsm"):
            told.do(f"h1 kill {part} for 100")
        told.wait(7.0)
        assert told.running_on == [1]
        told.wait(5.0)
        assert told.running_on == []
        assert "h1 fence: epoch 1 was not renewed in time" in told.log


def test_a_deadline_that_is_renewed_ends_nothing() -> None:
    with story(hosts=1, seconds=120.0) as told:
        assert told.running_on == [1]
        assert told.world[1].fence is not None


def test_a_killed_guard_ends_nothing_and_the_next_arm_starts_another() -> None:
    with story(hosts=1) as told:
        told.do("h1 kill guard")
        assert "guard" not in [p.name[3:] for p in told.world[1].processes()]
        told.wait(4.0)
        assert "guard" in [p.name[3:] for p in told.world[1].processes()]
        told.do("h1 kill guard")
        told.do("h1 kill broker for 100")
        told.wait(60.0)
        assert told.running_on == [1]


def test_a_hung_guard_acts_when_it_goes_on() -> None:
    with story(hosts=1) as told:
        told.do("h1 kill broker for 100")
        told.do("h1 hang guard for 30")
        told.wait(29.0)
        assert told.running_on == [1]
        told.wait(2.0)
        assert told.running_on == []


def test_a_suspended_host_s_vm_ends_soon_after_it_wakes() -> None:
    with story(hosts=1) as told:
        told.do("h1 suspend for 60")
        told.wait(61.0)
        assert "fence" in told.log


def test_a_deadline_is_retired_when_the_vm_has_stayed_away() -> None:
    with story(hosts=1) as told:
        told.do("h1 kill broker for 100")
        told.wait(40.0)
        assert told.world[1].fence is None


def test_an_orderly_stop_of_the_broker_disarms() -> None:
    with story(hosts=1) as told:
        told.do("h1 stop broker")
        told.wait(60.0)
        assert told.world[1].fence is None
        assert told.running_on == [1]

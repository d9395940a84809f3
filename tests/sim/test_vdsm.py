# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.sim.vdsm import RECOVERY_SECONDS, SimVdsmCalls
from ha_agent.vdsm.errors import (
    VdsmCallFailed,
    VdsmCode,
    VdsmConnectionLost,
    VdsmNoAnswer,
    VdsmUnreachable,
)
from ha_agent.vdsm.vm_status import ExitReason, VmStats, VmStatus
from tests.sim.sim_story import Story, story


class Client:
    """A client of host 1's VDSM outside of all processes; the agent is dead."""

    def __init__(self, told: Story) -> None:
        self.told = told
        told.world[1].hold_down("agent", None)
        told.world[1].kill("agent")
        self.events = 0
        self.calls = SimVdsmCalls(told.world[1], told.world.outside, self._event)

    def _event(self) -> None:
        self.events += 1

    def stats(self) -> VmStats:
        stats = self.told.world.loop.run(self.calls.vm_stats("vm"))
        assert stats is not None
        return stats

    def create(self) -> None:
        self.told.world.loop.run(self.calls.create_vm("vm", "definition-1"))


def test_a_start_goes_through_vdsm_s_states() -> None:
    with story(engine_on=0, boot_seconds=40.0, seconds=0.0) as told:
        client = Client(told)
        assert told.world.loop.run(client.calls.vm_stats("vm")) is None
        client.create()
        assert client.stats().status is VmStatus.WAIT_FOR_LAUNCH
        told.wait(1.0)
        assert client.stats().status is VmStatus.POWERING_UP
        told.wait(30.0)
        assert client.stats().status is VmStatus.UP


def test_a_down_record_blocks_a_create_until_it_is_destroyed() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("cluster guest-crash")
        down = client.stats()
        assert (down.status, down.exit_reason) == (
            VmStatus.DOWN,
            ExitReason.LOST_QEMU_CONNECTION,
        )
        with pytest.raises(VdsmCallFailed) as refused:
            client.create()
        assert refused.value.code == VdsmCode.VM_EXISTS
        assert told.world.loop.run(client.calls.destroy_vm("vm"))
        assert not told.world.loop.run(client.calls.destroy_vm("vm"))
        client.create()


def test_an_orderly_stop_leaves_a_record_of_it() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        assert told.world.loop.run(client.calls.shutdown_vm("vm"))
        assert client.stats().status is VmStatus.POWERING_DOWN
        told.wait(10.0)
        assert client.stats().exit_reason is ExitReason.ADMIN_SHUTDOWN
        assert not told.world.loop.run(client.calls.shutdown_vm("vm"))


def test_vdsm_recovers_after_its_start_and_the_vm_runs_on() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 kill vdsm")
        with pytest.raises(VdsmUnreachable, match="refused"):
            client.stats()
        told.wait(2.0)
        with pytest.raises(VdsmUnreachable, match="code 99"):
            client.stats()
        told.wait(RECOVERY_SECONDS)
        assert client.stats().status is VmStatus.UP
        assert told.running_on == [1]


def test_a_vm_that_ended_meanwhile_is_found_down() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 kill vdsm")
        told.do("cluster guest-crash")
        told.wait(RECOVERY_SECONDS + 2.0)
        assert client.stats().status is VmStatus.DOWN


def test_a_silent_vdsm_may_do_what_was_asked_later() -> None:
    with story(hosts=1, engine_on=0, seconds=0.0) as told:
        client = Client(told)
        told.do("h1 vdsm-silent for 60")
        with pytest.raises(VdsmNoAnswer) as failed:
            client.create()
        assert failed.value.may_have_executed
        assert told.now == pytest.approx(30.0)
        told.wait(40.0)
        assert client.stats().status is not VmStatus.DOWN


def test_a_call_under_way_hears_of_vdsm_s_end() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-slow 3 for 60")
        told.world.outside.call_later(1.0, told.do, "h1 kill vdsm")
        with pytest.raises(VdsmConnectionLost):
            client.stats()


@pytest.mark.parametrize(
    ("fault", "earliest", "latest"),
    [("storage-slow 0.01", 0.0, 1.0), ("vdsm-late 3", 3.0, 4.0), ("vdsm-deaf", 0.6, 11.0)],
)
def test_events_are_lost_or_late(fault: str, earliest: float, latest: float) -> None:
    """Without events the agent's own look, every 10 s, finds what has happened."""
    with story(seconds=21.0) as told:
        told.do(f"h1 {fault} for 60")
        told.do("cluster guest-crash")
        told.wait(earliest)
        assert "asks for the engine VM" not in told.log
        told.wait(latest - earliest)
        assert "asks for the engine VM" in told.log


def test_stale_answers_show_what_was() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-stale for 30")
        told.do("cluster guest-crash")
        assert client.stats().status is VmStatus.UP
        told.wait(31.0)
        assert client.stats().status is VmStatus.DOWN


def test_a_mute_vdsm_does_nothing_then_or_later() -> None:
    with story(hosts=1, engine_on=0, seconds=0.0) as told:
        client = Client(told)
        told.do("h1 vdsm-mute for 60")
        with pytest.raises(VdsmNoAnswer):
            client.create()
        told.wait(40.0)
        assert told.world.loop.run(client.calls.vm_stats("vm")) is None


@pytest.mark.parametrize("fault", ["vdsm-unheard", "vdsm-overdue 40"])
def test_what_is_asked_is_done_and_nobody_hears_of_it(fault: str) -> None:
    with story(hosts=1, engine_on=0, seconds=0.0) as told:
        client = Client(told)
        told.do(f"h1 {fault} for 60")
        with pytest.raises(VdsmNoAnswer) as failed:
            client.create()
        assert failed.value.may_have_executed
        assert told.running_on == [1]


def test_an_overdue_answer_is_as_old_as_it_is_late() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-overdue 3 for 60")
        told.world.outside.call_later(1.0, told.do, "cluster guest-crash")
        begun = told.now
        assert client.stats().status is VmStatus.UP
        assert told.now >= begun + 3.0
        assert client.stats().status is VmStatus.DOWN


def test_who_does_not_greet_is_not_reached() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-no-greeting for 60")
        with pytest.raises(VdsmUnreachable, match="greeting"):
            client.stats()
        told.wait(61.0)
        assert client.stats().status is VmStatus.UP

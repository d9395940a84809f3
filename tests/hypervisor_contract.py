# SPDX-License-Identifier: Apache-2.0
"""What every ports.Hypervisor does: one suite for the fake, VDSM and libvirt.

A module that has such a port makes `class TestContract(HypervisorContract)` and a fixture `pair`:
two hosts that share the storage of one VM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable, Optional

import pytest

from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.guards import RUNNING
from ha_agent.fsm.observation import VmCondition, VmExit, VmView
from ha_agent.ports import Hypervisor
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode, VdsmUnreachable
from ha_agent.vdsm.vm_status import lost_lease_race
from ha_agent.virt.errors import LibvirtCallFailed, LibvirtUnreachable, VmExists
from tests.vdsm.embedded import make_xml

CLOCK = SystemClock()
LIMIT_SECONDS = 60.0


def is_launched(view: VmView) -> bool:
    return view.condition in RUNNING and not view.launching and view.detail != "WaitForLaunch"


def is_down(view: VmView) -> bool:
    return view.condition is VmCondition.DOWN


def is_paused(view: VmView) -> bool:
    return view.condition is VmCondition.PAUSED


@dataclass
class OneHost:
    """A hypervisor, and what a test does behind its back. `crash` is None where the hypervisor
    has no QEMU that could, and `has_lease` says whether its VMs keep each other out."""

    hypervisor: Hypervisor
    crash: Optional[Callable[[], None]]
    silence: Callable[[], Awaitable[None]]
    has_lease: bool = True
    xml: str = make_xml()

    async def until(self, wanted: Callable[[VmView], bool]) -> VmView:
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while True:
            view = await self.hypervisor.look()
            if wanted(view):
                return view
            assert CLOCK.now() < ends_at, view
            assert wanted is not is_launched or not is_down(view), view
            await asyncio.sleep(0.02)

    async def refuses_another(self) -> None:
        with pytest.raises(EnvironmentFault) as refused:
            await self.hypervisor.create(self.xml)
        fault = refused.value
        assert isinstance(fault, (VmExists, VdsmCallFailed))
        if isinstance(fault, VdsmCallFailed):
            assert fault.code == VdsmCode.VM_EXISTS


class HypervisorContract:
    async def test_no_vm_is_absent_and_nothing_to_end(self, pair: list[OneHost]) -> None:
        hypervisor = pair[0].hypervisor
        assert (await hypervisor.look()).condition is VmCondition.ABSENT
        await hypervisor.destroy()
        await hypervisor.shutdown()
        assert (await hypervisor.look()).condition is VmCondition.ABSENT

    async def test_a_vm_from_its_start_to_its_end(self, pair: list[OneHost]) -> None:
        host = pair[0]
        await host.hypervisor.create(host.xml)
        assert (await host.hypervisor.look()).condition in RUNNING, "seen from the answer on"
        await host.refuses_another()
        await host.until(is_launched)
        await host.hypervisor.shutdown()
        # Where there is no guest that takes its time it is down at once.
        stopping = (VmCondition.STOPPING, VmCondition.DOWN)
        assert (await host.hypervisor.look()).condition in stopping
        await host.hypervisor.destroy()
        assert (await host.hypervisor.look()).condition is VmCondition.ABSENT

    async def test_a_vm_can_be_destroyed_before_it_is_there(self, pair: list[OneHost]) -> None:
        host = pair[0]
        await host.hypervisor.create(host.xml)
        await host.hypervisor.destroy()
        assert (await host.hypervisor.look()).condition is VmCondition.ABSENT
        await host.hypervisor.create(host.xml)
        await host.until(is_launched)

    async def test_a_crash_leaves_a_record_that_is_in_the_way(self, pair: list[OneHost]) -> None:
        host = pair[0]
        if host.crash is None:
            pytest.skip("no QEMU here that could crash")
        await host.hypervisor.create(host.xml)
        await host.until(is_launched)
        host.crash()
        view = await host.until(is_down)
        assert view.exit is VmExit.CRASHED
        await host.refuses_another()
        await host.hypervisor.shutdown()
        assert (await host.hypervisor.look()).condition is VmCondition.DOWN
        await host.hypervisor.destroy()
        assert (await host.hypervisor.look()).condition is VmCondition.ABSENT

    async def test_a_vm_that_is_started_paused_runs_when_it_is_resumed(
        self, pair: list[OneHost]
    ) -> None:
        host = pair[0]
        if not host.has_lease:
            pytest.skip("libvirt's test driver starts no VM paused")
        with pytest.raises(EnvironmentFault):
            await host.hypervisor.resume()
        await host.hypervisor.create(host.xml, paused=True)
        await host.until(is_paused)
        await host.hypervisor.resume()
        view = await host.hypervisor.look()
        assert view.condition in (VmCondition.STARTING, VmCondition.UP)
        await host.hypervisor.destroy()
        assert (await host.hypervisor.look()).condition is VmCondition.ABSENT

    async def test_one_that_is_paused_never_goes_on_beside_another(
        self, pair: list[OneHost]
    ) -> None:
        """Either it keeps the second from starting, as with an image's lock, or it has no VM lease
        yet, and is refused one."""
        first, second = pair
        if not first.has_lease:
            pytest.skip("no QEMU here that holds a lock")
        await first.hypervisor.create(first.xml, paused=True)
        await first.until(is_paused)
        await second.hypervisor.create(second.xml)
        view = await second.until(lambda view: is_launched(view) or is_down(view))
        if is_down(view):
            assert view.exit is VmExit.LEASE_HELD_ELSEWHERE
            await first.hypervisor.resume()
            return
        with pytest.raises((VdsmCallFailed, LibvirtCallFailed)) as refused:
            await first.hypervisor.resume()
        error = refused.value
        assert isinstance(error, (VdsmCallFailed, LibvirtCallFailed))
        assert lost_lease_race(error.message)
        assert (await first.hypervisor.look()).condition is VmCondition.PAUSED

    async def test_of_two_starts_one_gets_the_vm_lease(self, pair: list[OneHost]) -> None:
        first, second = pair
        if not first.has_lease:
            pytest.skip("no QEMU here that holds a lock")
        await first.hypervisor.create(first.xml)
        await first.until(is_launched)
        await second.hypervisor.create(second.xml)
        view = await second.until(is_down)
        assert view.exit is VmExit.LEASE_HELD_ELSEWHERE
        assert (await first.hypervisor.look()).condition in RUNNING
        await second.hypervisor.destroy()
        await first.hypervisor.destroy()
        await second.hypervisor.create(second.xml)
        await second.until(is_launched)

    async def test_silence_is_unknown_to_a_look_and_a_fault_to_the_rest(
        self, pair: list[OneHost]
    ) -> None:
        host = pair[0]
        await host.silence()
        view = await host.hypervisor.look()
        assert view.condition is VmCondition.UNKNOWN
        assert "can't be reached" in view.detail
        calls = (
            host.hypervisor.create(host.xml),
            host.hypervisor.shutdown(),
            host.hypervisor.destroy(),
        )
        for call in calls:
            with pytest.raises((VdsmUnreachable, LibvirtUnreachable)):
                await call

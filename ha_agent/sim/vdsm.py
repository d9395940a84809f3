# SPDX-License-Identifier: Apache-2.0
"""One host's VDSM, as far as the engine VM goes: the verbs that agent and broker use.

`SimVdsm` is the process: its record of the VM, its codes and its events. `SimVdsmCalls` is one
client's side of it, with the verbs' deadlines; it stands where vdsm.verbs.Vdsm does, and the
real VdsmHypervisor runs above it.

- A record that is Down stays, and blocks VM.create (code 4), until VM.destroy.
- For a while after its start VDSM answers nothing but code 99, which the client reports as "can't
  be reached". VMs run on meanwhile; one that ended is found Down (exit reason 9).
- A VDSM that hangs takes requests and answers them when it goes on: a call over its deadline may
  still take effect.
- Events may be lost or late: they are only a reason to look.
- hostile_vdsm.py has what it does when it is mad: floods of events, restarts without end.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from ha_agent.sim.guest import EngineVm
from ha_agent.sim.loop import Process, SimLoop
from ha_agent.vdsm.client.verb_calls import MEMORY_DEADLINE_SECONDS
from ha_agent.vdsm.errors import (
    VdsmCallFailed,
    VdsmCode,
    VdsmConnectionLost,
    VdsmNoAnswer,
    VdsmUnreachable,
)
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import ExitReason, VmStats, VmStatus

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

T = TypeVar("T")

RECOVERY_SECONDS = 10.5
ANSWER_SECONDS = (0.002, 0.02)
EVENT_SECONDS = 0.01
_VM_DEADLINE_SECONDS = 30.0
_DESTROY_SECONDS = 0.3


class SimVdsm:
    """VDSM's process on one host."""

    def __init__(self, host: SimHost, process: Process, *, recovering: bool) -> None:
        self.host = host
        self.process = process
        self.recovered_at = host.world.loop.now + (RECOVERY_SECONDS if recovering else 0.0)
        self.vm: Optional[EngineVm] = None
        """Its record: a VM that lives, or what is left of one."""
        here = [vm for vm in host.world.engine.vms if vm.host is host]
        self.keep(here[0] if here else host.lost_vm)
        if recovering:
            process.call_later(RECOVERY_SECONDS, self.tell)

    def keep(self, vm: Optional[EngineVm]) -> None:
        """Have this record, and hear of its changes."""
        if self.vm is not None:
            self.vm.on_change = lambda: None
        self.vm = vm
        self.host.lost_vm = None
        if vm is not None:
            vm.on_change = self.tell

    def stop(self) -> None:
        """The process is gone; a VM that ends from now on is found missing by the next."""
        vm = self.vm
        if vm is not None:
            vm.on_change = lambda: None
            if vm.state != "ended":
                self.host.lost_vm = vm  # so that the next VDSM finds it ended

    def tell(self) -> None:
        """Send an event about the VM, unless events are lost."""
        faults = self.host.faults
        if "vdsm-deaf" in faults or not self.process.alive:
            return
        late_seconds = EVENT_SECONDS + faults.get("vdsm-late", 0.0)
        self.process.call_later(late_seconds, self.host.vdsm_event)

    def stats(self) -> Optional[VmStats]:
        """What VM.getStats says now."""
        vm = self.vm
        if vm is None:
            return None
        uuid = self.host.world.vm_uuid
        if vm.state != "ended":
            status = _status(vm)
            return VmStats(uuid, status, status.value, vdsm_clock_ms=self.clock_ms)
        reason = vm.exit_reason
        normal = reason in (ExitReason.ADMIN_SHUTDOWN, ExitReason.USER_SHUTDOWN)
        return VmStats(
            uuid,
            VmStatus.DOWN,
            VmStatus.DOWN.value,
            exit_code=0 if normal else 1,
            exit_reason=reason,
            exit_reason_number=None if reason is None else int(reason),
            exit_message=vm.exit_message,
            vdsm_clock_ms=self.clock_ms,
        )

    @property
    def clock_ms(self) -> int:
        """The clock of statusTime and notify_time: this host's since its boot."""
        return int(self.host.clock.now().boottime_seconds * 1000)

    # The verbs that change something, as VDSM does them ----------------------------------

    def create(self, definition: str, by: str = "") -> VmStats:
        if self.vm is not None:
            message = "Virtual machine already exists"
            raise VdsmCallFailed("VM.create", VdsmCode.VM_EXISTS, message)
        if "start-refused" in self.host.faults:
            message = "Error creating the requested VM"
            raise VdsmCallFailed("VM.create", VdsmCode.CANNOT_CREATE_VM, message)
        vm = self.host.world.engine.launch(self.host, definition)
        vm.started_by = by
        self.keep(vm)
        self.host.say("asks for the engine VM to start")
        status = VmStatus.WAIT_FOR_LAUNCH
        return VmStats(self.host.world.vm_uuid, status, status.value)

    def shutdown(self, by: str = "") -> bool:
        if self.vm is None or self.vm.state == "ended":
            return False
        self.vm.stopped_by = by
        if not self.vm.powering_down:
            self.vm.shut_down()
        return True

    def destroy(self, by: str = "") -> bool:
        vm = self.vm
        if vm is None:
            return False
        vm.stopped_by = by
        self.keep(None)
        vm.end("destroyed", ExitReason.ADMIN_SHUTDOWN)
        return True


class SimVdsmCalls:
    """The verbs as one process on the host calls them. Raises as vdsm.verbs.Vdsm does."""

    def __init__(
        self,
        host: SimHost,
        process: Process,
        on_event: Callable[[], None],
        on_flood: Callable[[Sequence[Event]], None] = lambda _: None,
    ) -> None:
        """`on_event` is called in this process when VDSM has news of the VM, `on_flood` with
        all the events that came at once of one that floods."""
        self._host = host
        self._loop: SimLoop = host.world.loop
        self._process = process
        self._on_event = on_event
        self._on_flood = on_flood
        self._dice = host.dice.stream(f"vdsm calls of {process.name}")

    def hear(self) -> None:
        """Take an event from VDSM."""
        if self._process.alive:
            self._process.call_later(0.0, self._on_event)

    def hear_flood(self, events: Sequence[Event]) -> None:
        """Take many events at once."""
        if self._process.alive:
            self._process.call_later(0.0, self._on_flood, events)

    async def vm_stats(self, _vm_id: str) -> Optional[VmStats]:
        def look(vdsm: SimVdsm) -> Optional[VmStats]:
            frozen: dict[str, Any] = self._host.stale_stats
            return frozen["stats"] if frozen else vdsm.stats()

        return await self._ask("VM.getStats", look, MEMORY_DEADLINE_SECONDS)

    async def create_vm(self, _vm_id: str, domain_xml: str, *, paused: bool = False) -> VmStats:
        assert not paused, "nobody in a simulation orders a start that waits"
        by = self._process.name
        return await self._ask(
            "VM.create", lambda v: v.create(domain_xml, by), _VM_DEADLINE_SECONDS
        )

    async def shutdown_vm(self, _vm_id: str, **_how: object) -> bool:
        by = self._process.name
        return await self._ask("VM.shutdown", lambda v: v.shutdown(by), _VM_DEADLINE_SECONDS)

    async def destroy_vm(self, _vm_id: str) -> bool:
        by = self._process.name
        return await self._ask(
            "VM.destroy", lambda v: v.destroy(by), _VM_DEADLINE_SECONDS, _DESTROY_SECONDS
        )

    async def vm_list(self) -> list[VmStats]:
        def look(vdsm: SimVdsm) -> list[VmStats]:
            up = VmStatus.UP
            others = [VmStats(f"vm-{n}", up, up.value) for n in range(self._host.other_vms)]
            own = vdsm.stats()
            return others if own is None else [own, *others]

        return await self._ask("Host.getVMList", look, MEMORY_DEADLINE_SECONDS)

    async def _ask(
        self,
        verb: str,
        work: Callable[[SimVdsm], T],
        deadline_seconds: float,
        more_seconds: float = 0.0,
    ) -> T:
        vdsm, faults = self._host.vdsm, self._host.faults
        if vdsm is None:
            raise VdsmUnreachable(self._host.name, "connection refused")
        if "vdsm-no-greeting" in faults:
            raise VdsmUnreachable(self._host.name, "no greeting")
        if self._loop.now < vdsm.recovered_at:
            raise VdsmUnreachable(self._host.name, "still recovering (code 99)")
        answer: asyncio.Future[T] = self._loop.create_future()

        def do() -> None:
            # Whoever asked may have gone meanwhile; what was sent is done all the same.
            if "vdsm-mute" in self._host.faults:
                return
            try:
                reply = functools.partial(answer.set_result, work(vdsm))
            except VdsmCallFailed as fault:
                reply = functools.partial(answer.set_exception, fault)
            overdue_seconds = self._host.faults.get("vdsm-overdue", 0.0)
            if overdue_seconds:
                vdsm.process.call_later(overdue_seconds, tell, reply)
            else:
                tell(reply)

        def tell(reply: Callable[[], None]) -> None:
            if not answer.done() and "vdsm-unheard" not in self._host.faults:
                reply()

        def lost() -> None:
            if not answer.done():
                answer.set_exception(
                    VdsmConnectionLost(self._host.name, "closed", may_have_executed=True)
                )

        def expire() -> None:
            if not answer.done():
                answer.set_exception(VdsmNoAnswer(verb, deadline_seconds, may_have_executed=True))

        slow_seconds = faults.get("vdsm-slow", 0.0) + more_seconds
        delay_seconds = self._dice.uniform(*ANSWER_SECONDS) + slow_seconds
        vdsm.process.call_later(delay_seconds, do)
        vdsm.process.on_killed.append(lost)
        timer = self._loop.call_later(deadline_seconds, expire)
        try:
            return await answer
        finally:
            timer.cancel()
            if lost in vdsm.process.on_killed:
                vdsm.process.on_killed.remove(lost)


def _status(vm: EngineVm) -> VmStatus:
    if vm.state == "launching":
        return VmStatus.WAIT_FOR_LAUNCH
    if vm.state == "incoming":
        return VmStatus.MIGRATION_DESTINATION
    if vm.paused:
        return VmStatus.PAUSED
    if vm.migrating:
        return VmStatus.MIGRATION_SOURCE
    if vm.powering_down:
        return VmStatus.POWERING_DOWN
    engine = vm.engine
    up_from = vm.since + min(60.0, engine.boot_seconds / 2)
    return VmStatus.UP if engine.now() >= up_from else VmStatus.POWERING_UP

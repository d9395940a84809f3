# SPDX-License-Identifier: Apache-2.0

"""The agent's ports without the world behind them. They keep the ports' promises: every call
ends, what fails raises an EnvironmentFault, VDSM answers a start before it has done it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Callable, Optional

from ha_agent.broker.snapshot import Report, Snapshot
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.fsm.observation import VmCondition, VmExit, VmView
from ha_agent.instant import Instant, WallTime
from ha_agent.ports import DomainDefinition, LeaseAnswer
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode, VdsmUnreachable

CREATE_DEADLINE_SECONDS = 30.0  # as vdsm/client/verbs.py has it
ABSENT = VmView(VmCondition.ABSENT, detail="no such VM")
LAUNCHED_PAUSED = VmView(VmCondition.PAUSED, detail="Paused as it was launched")
SILENT = VmView(VmCondition.UNKNOWN, detail="VDSM at test can't be reached: refused")


class FakeClock:
    """Stands still until somebody sleeps or sets it."""

    def __init__(self, boottime_seconds: float = 1000.0) -> None:
        self.time = Instant(boottime_seconds)

    def now(self) -> Instant:
        return self.time

    def wall(self) -> WallTime:
        return WallTime(1_700_000_000.0 + self.time.boottime_seconds)

    async def sleep(self, duration_seconds: float) -> None:
        self.time = self.time + max(0.0, duration_seconds)
        await asyncio.sleep(0)


class FakeBroker:
    """Hands out `picture`, keeps what is published, answers from what a test has set."""

    def __init__(self, picture: Snapshot) -> None:
        self.picture = picture
        self.reports: list[Report] = []
        self.calls: list[str] = []
        self.fault: Optional[Exception] = None
        self.refusal = ""

    async def snapshot(self, since_version: int, wait_seconds: float) -> Snapshot:
        self._ask("snapshot")
        await asyncio.sleep(0)  # a real one lets others run, too
        return self.picture

    async def publish(self, report: Report) -> None:
        self._ask("publish")
        self.reports.append(report)

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        self._ask(f"take {expected_epoch}")
        return LeaseAnswer(not self.refusal, self.refusal, self.picture)

    async def release_lease(self, why: str) -> LeaseAnswer:
        self._ask("release")
        return LeaseAnswer(not self.refusal, self.refusal, self.picture)

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        self._ask("abandon")
        return LeaseAnswer(not self.refusal, self.refusal, self.picture)

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        self._ask(f"definition, fallback: {why}" if fallback else "definition")
        return DomainDefinition("d0" if fallback else "d1", "<domain/>")

    def _ask(self, call: str) -> None:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault


class VmLease:
    """What sanlock or the kernel keeps: at most one process has the VM's disk open."""

    def __init__(self) -> None:
        self.holder: Optional[FakeHypervisor] = None


class FakeHypervisor:
    """One host's VDSM and its one VM. Needs a running loop: a start or shutdown takes time."""

    def __init__(
        self,
        vm_lease: Optional[VmLease] = None,
        *,
        start_seconds: float = 0.5,
        shutdown_seconds: float = 4.0,
        on_event: Callable[[], None] = lambda: None,
    ) -> None:
        self.vm_lease = vm_lease or VmLease()
        self.start_seconds = start_seconds
        self.shutdown_seconds = shutdown_seconds
        self.on_event = on_event
        self.answers = True
        self.refusal: Optional[EnvironmentFault] = None
        self.create_seconds = 0.0
        """How long VDSM needs to take a create; the caller waits no longer than its deadline."""
        self.crashes_at_start = False
        self.unable_to_start: set[str] = set()
        """Domain XMLs that no VM comes of."""
        self.xml = ""
        self.starts_paused = False
        self.view = ABSENT
        self.calls: list[str] = []
        self.running_since: Optional[float] = None

    async def look(self) -> VmView:
        return self.view if self.answers else SILENT

    async def create(self, xml: str, *, paused: bool = False) -> None:
        self._ask("create paused" if paused else "create")
        self.starts_paused = paused
        if self.create_seconds <= 0.0:
            self._created(xml)
            return
        # It happens whether or not somebody still waits for it.
        asyncio.get_running_loop().call_later(self.create_seconds, self._taken_late, xml)
        await asyncio.sleep(min(self.create_seconds, CREATE_DEADLINE_SECONDS))
        if self.create_seconds > CREATE_DEADLINE_SECONDS:
            raise DeadlineExceeded("VM.create", CREATE_DEADLINE_SECONDS)

    def _taken_late(self, xml: str) -> None:
        with contextlib.suppress(VdsmCallFailed):
            self._created(xml)

    def _created(self, xml: str) -> None:
        self.xml = xml
        if self.view is not ABSENT:
            raise VdsmCallFailed("VM.create", VdsmCode.VM_EXISTS, "Virtual machine already exists")
        self.view = VmView(VmCondition.STARTING, detail="WaitForLaunch", launching=True)
        asyncio.get_running_loop().call_later(self.start_seconds, self._started)

    async def shutdown(self) -> None:
        self._ask("shutdown")
        if self.running_since is not None and self.view.condition is not VmCondition.PAUSED:
            self.view = VmView(VmCondition.STOPPING, detail="Powering down")
            asyncio.get_running_loop().call_later(self.shutdown_seconds, self.end, VmExit.STOPPED)

    async def destroy(self) -> None:
        self._ask("destroy")
        self.end(VmExit.STOPPED)
        self.view = ABSENT

    def end(self, ended: VmExit) -> None:
        """The VM's process ends, as by a crash; VDSM keeps a Down record and says so."""
        if self.running_since is None and self.view is not LAUNCHED_PAUSED:
            return
        self.running_since = None
        if self.vm_lease.holder is self:
            self.vm_lease.holder = None
        self.view = VmView(VmCondition.DOWN, ended, detail="Down")
        self.on_event()

    def pause(self) -> None:
        """The guest stops at an I/O error; its VM lease is gone, as under sanlock."""
        if self.vm_lease.holder is self:
            self.vm_lease.holder = None
        self.view = VmView(VmCondition.PAUSED, detail="Paused")
        self.on_event()

    async def resume(self) -> None:
        self._ask("resume")
        if self.view in (ABSENT, SILENT) or self.view.condition is VmCondition.DOWN:
            message = "Virtual machine does not exist"
            raise VdsmCallFailed("VM.cont", VdsmCode.NO_SUCH_VM, message)
        if self.vm_lease.holder not in (None, self):
            message = "General Exception: ('Failed to acquire lock: error -243',)"
            raise VdsmCallFailed("VM.cont", VdsmCode.GENERAL_EXCEPTION, message)
        if self.running_since is None:
            self.running_since = asyncio.get_running_loop().time()
        if self.view.condition is VmCondition.PAUSED:
            self.go_on()

    def go_on(self) -> None:
        """The guest goes on, and has its VM lease again."""
        assert self.vm_lease.holder is None
        self.vm_lease.holder = self
        self.view = VmView(VmCondition.UP, detail="Up")
        self.on_event()

    def _started(self) -> None:
        if self.view.condition is not VmCondition.STARTING:
            return
        if self.vm_lease.holder is not None and not self.starts_paused:
            self.view = VmView(VmCondition.DOWN, VmExit.LEASE_HELD_ELSEWHERE, detail="Down")
        elif self.crashes_at_start or self.xml in self.unable_to_start:
            self.view = VmView(VmCondition.DOWN, VmExit.START_FAILED, detail="Down")
        elif self.starts_paused:
            self.view = LAUNCHED_PAUSED  # without the VM lease
        else:
            self.vm_lease.holder = self
            self.running_since = asyncio.get_running_loop().time()
            self.view = VmView(VmCondition.UP, detail="Up")
        self.on_event()

    def _ask(self, call: str) -> None:
        self.calls.append(call)
        if not self.answers:
            raise VdsmUnreachable("test", "refused")
        if self.refusal is not None:
            raise self.refusal

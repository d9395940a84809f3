# SPDX-License-Identifier: Apache-2.0
"""The engine VM's processes on all hosts, and who has its disk: the truth that checkers look at.

A VM lives in its host's kernel: whatever becomes of VDSM, agent and broker, it goes on.

    launching   QEMU starts; it has no disk yet                       VDSM: WaitForLaunch
    running     it holds the VM lease and has the disk open           Powering up, Up, ...
    paused      stopped for an I/O error: libvirt gives the lease     Paused
                back, and must have it again before the VM goes on
    incoming    the far end of a migration; no disk yet               Migration Destination
    ended       gone; VDSM keeps a Down record                        Down

The VM lease is exclusive and goes with its process. After a power-off it stays taken for
`expiry_seconds` more: sanlock waits for a dead host's watchdog, the kernel's locks for nothing.
Where the daemons are simulated, too (sanlock.py), they say besides who may have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional

from ha_agent.vdsm.vm_status import ExitReason

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost
    from ha_agent.sim.sanlock import VmLease

LAUNCH_SECONDS = 0.4
SHUTDOWN_SECONDS = 6.0
_NEVER = float("inf")


class EngineVm:
    """One QEMU process of the engine VM, or what is left of it."""

    def __init__(self, engine: Engine, host: SimHost, definition: str) -> None:
        self.engine = engine
        self.host = host
        self.definition = definition
        self.state = "launching"
        self.since = engine.now()
        self.healthy_from = _NEVER
        """When the engine in it has booted, in true seconds."""
        self.paused = False
        self.hung = False
        self.page_bad = False
        self.powering_down = False
        self.migrating = False
        self.exit_reason: Optional[ExitReason] = None
        self.exit_message = ""
        self.migrated_here = False
        self.started_by = ""
        """The process that asked VDSM for it; "" an administrator."""
        self.stopped_by = ""
        """The process that asked VDSM last to stop it."""
        self.ended_why = ""
        self.on_change: Callable[[], None] = lambda: None
        """VDSM's, when it lives."""

    @property
    def has_disk(self) -> bool:
        """Whether it holds the VM lease and may write to the disk."""
        return self.state == "running" and not self.paused

    @property
    def page(self) -> str:
        """The engine's health page: good, bad, or silent (nothing answers)."""
        if not self.has_disk or self.hung or not self.host.awake:
            return "silent"
        if self.page_bad or self.engine.now() < self.healthy_from:
            return "bad"
        return "good"

    def shut_down(self) -> None:
        """The guest is asked to shut down; one that hangs does not hear it."""
        self.powering_down = True
        self.engine.changed(self, "")
        self.host.kernel.call_later(SHUTDOWN_SECONDS, self._obey)

    def _obey(self) -> None:
        if self.hung or self.paused:
            self.host.kernel.call_later(SHUTDOWN_SECONDS, self._obey)
        elif self.state == "running":
            self.end("shut down", ExitReason.ADMIN_SHUTDOWN)

    def end(self, why: str, reason: ExitReason, message: str = "") -> None:
        """Its process ends. `reason` and `message` are what VDSM tells of it."""
        if self.state == "ended":
            return
        self.engine.let_go(self)
        self.state, self.exit_reason, self.exit_message = "ended", reason, message
        self.ended_why = why
        self.engine.vms.remove(self)
        self.engine.changed(self, f"engine VM ends: {why}")


class Engine:
    """All VM processes, the VM lease, and the engine's shape in the next VM that starts.

    `on_change(vm, text)` is called after each change of any; `text` is "" for what an operator
    need not read.
    """

    def __init__(
        self,
        now: Callable[[], float],
        on_change: Callable[[EngineVm, str], None],
        *,
        boot_seconds: float,
        expiry_seconds: float,
        sanlock: Optional[VmLease] = None,
    ) -> None:
        self.now = now
        self._sanlock = sanlock
        self.changed = self._change
        self._on_change = on_change
        self.boot_seconds = boot_seconds
        self.expiry_seconds = expiry_seconds
        self.vms: list[EngineVm] = []
        """Those whose process lives, the oldest first."""
        self.lease_holder: Optional[EngineVm] = None
        self._lease_taken_until = -1.0

    @property
    def current(self) -> Optional[EngineVm]:
        """The VM that has the disk, else one that is paused, else one that starts."""
        with_disk = [vm for vm in self.vms if vm.has_disk]
        running = [vm for vm in self.vms if vm.state == "running"]
        return next(iter(with_disk or running or self.vms), None)

    @property
    def healthy(self) -> bool:
        """Whether an engine answers well, wherever it is."""
        return any(vm.page == "good" for vm in self.vms)

    @property
    def disk_open_on(self) -> list[int]:
        """The host ids of all VMs that may write to the disk: never more than one."""
        return [vm.host.host_id for vm in self.vms if vm.has_disk]

    def lease_is_free(self) -> bool:
        """Tell whether the VM lease can be had now."""
        return self.lease_holder is None and self.now() >= self._lease_taken_until

    def launch(self, host: SimHost, definition: str) -> EngineVm:
        """A QEMU process starts; what becomes of it shows `LAUNCH_SECONDS` later."""
        vm = EngineVm(self, host, definition)
        self.vms.append(vm)
        host.kernel.call_later(LAUNCH_SECONDS, self._launched, vm)
        return vm

    def receive(self, host: SimHost, definition: str) -> EngineVm:
        """The far end of a migration is made."""
        vm = EngineVm(self, host, definition)
        vm.state, vm.migrated_here = "incoming", True
        self.vms.append(vm)
        return vm

    def run_since(self, host: SimHost, definition: str, booted_at: float) -> EngineVm:
        """A VM that has been running for longer than the simulation."""
        vm = EngineVm(self, host, definition)
        self.vms.append(vm)
        vm.state, vm.healthy_from = "running", booted_at
        self._take_lease(vm)
        vm.since = booted_at - self.boot_seconds
        return vm

    def hand_over(self, source: EngineVm, target: EngineVm) -> None:
        """A migration is done: the target runs on where the source stopped."""
        target.healthy_from, target.page_bad = source.healthy_from, source.page_bad
        target.hung, target.since = source.hung, source.since
        self.let_go(source)
        target.state = "running"
        self._take_lease(target)
        source.end(f"migrated to {target.host.name}", ExitReason.MIGRATION_SUCCEEDED)
        self.changed(target, f"engine VM runs here: migrated from {source.host.name}")

    def pause(self, vm: EngineVm) -> None:
        """An I/O error stops the VM; the lease is given back."""
        if vm.state == "running" and not vm.paused:
            vm.paused = True
            self.let_go(vm)
            self.changed(vm, "engine VM paused: I/O error")

    def resume(self, vm: EngineVm) -> None:
        """VDSM lets it go on, if the lease can be had again."""
        if vm.state != "running" or not vm.paused:
            return
        if self._lease_fault(vm.host):
            self.changed(vm, "engine VM stays paused: its lease is held elsewhere")
            return
        vm.paused = False
        self._take_lease(vm)
        self.changed(vm, "engine VM goes on")

    def power_lost(self, host: SimHost) -> None:
        """All of a host's VMs are gone; the lease stays taken for a while."""
        for vm in [vm for vm in self.vms if vm.host is host]:
            if self.lease_holder is vm:
                self._lease_taken_until = self.now() + self.expiry_seconds
            vm.end("its host lost power", ExitReason.HOST_SHUTDOWN)

    def let_go(self, vm: EngineVm) -> None:
        """Give the VM lease back, if this VM holds it."""
        if self.lease_holder is vm:
            self.lease_holder = None
            if self._sanlock is not None:
                self._sanlock.left(vm.host)

    def _take_lease(self, vm: EngineVm) -> None:
        self.lease_holder = vm
        if self._sanlock is not None:
            self._sanlock.took(vm.host)

    def _lease_fault(self, host: SimHost) -> str:
        if not self.lease_is_free():
            return "Lease is held by another host"
        return "" if self._sanlock is None else self._sanlock.fault(host)

    def _launched(self, vm: EngineVm) -> None:
        if vm.state != "launching":
            return
        fault = vm.host.start_fault(vm.definition)
        lease_fault = self._lease_fault(vm.host)
        if lease_fault:
            held = "Lease is held" in lease_fault
            why = "the VM lease is held elsewhere" if held else f"no VM lease: {lease_fault}"
            message = f"Failed to acquire lock: {lease_fault}"
            vm.end(why, ExitReason.GENERIC_ERROR, message)
        elif fault:
            vm.end(fault, ExitReason.LIBVIRT_START_FAILED, fault)
        else:
            vm.state = "running"
            self._take_lease(vm)
            vm.since = self.now()
            vm.healthy_from = self.now() + self.boot_seconds
            vm.host.kernel.call_later(min(60.0, self.boot_seconds / 2), self.changed, vm, "")
            self.changed(vm, "engine VM runs here")

    def _change(self, vm: EngineVm, text: str) -> None:
        vm.on_change()
        self._on_change(vm, text)

# SPDX-License-Identifier: Apache-2.0
"""What one VM is, as VDSM shows it: its record, its refined status, its events.

VDSM has two statuses. The raw one (Host.getVMList) is WaitForLaunch, Up or Down. The reported
one (VM.getStats, events) refines Up, in this order (facts, section 3):

    Paused              the vCPUs are stopped
    Powering down       for 300 s after VM.shutdown
    Powering up         for 60 s after the start or VM.cont, since no guest agent says Up
    RebootInProgress    for 60 s after a reset
    Up

A VM that ended stays as a Down record, with exit code, reason and message, until VM.destroy.

Here nothing is done to QEMU: vm.py starts and ends it, vm/orders.py orders it about,
vm/monitor.py hears it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent.instant import Instant
from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm.end import EXIT_MESSAGES
from ha_agent.vdsm.vm.registry import VmRecord
from ha_agent.vdsm.vm_status import ExitReason, VmStatus

log = logging.getLogger(__name__)

_POWERING_UP_SECONDS = 60.0
_POWERING_DOWN_SECONDS = 300.0
_REBOOT_SECONDS = 60.0


class Clock(Protocol):
    """The clock that statuses are dated by."""

    def now(self) -> Instant: ...


def vdsm_clock_ms(now: Instant) -> int:
    """Return a time as VDSM writes it in statusTime and notify_time (its common/time.py)."""
    return 2**31 - 1 + int(now.boottime_seconds * 1000)


class VmState:
    """One VM's record and status. `emit` gets (uuid, fields) for each status event.

    `ended_as` is set from the moment that we end QEMU ourselves, with the reason.
    """

    def __init__(
        self,
        record: VmRecord,
        run_dir: Path,
        clock: Clock,
        emit: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self.record = record
        self.is_paused = False
        self.pause_code = "NOERR"
        self.ended_as: Optional[ExitReason] = None
        self._run_dir = run_dir
        self._clock = clock
        self._emit = emit
        self._is_forgotten = False
        self._changed_at = clock.now()
        # What the guest is believed to do, for how long, since when. A VM that is found again
        # after our restart has been powering up since its own start.
        since = Instant(record.started_at_seconds) if record.pid else clock.now()
        self._phase = (VmStatus.POWERING_UP, _POWERING_UP_SECONDS, since)
        if record.is_shutdown_asked:
            self._phase = (VmStatus.POWERING_DOWN, _POWERING_DOWN_SECONDS, clock.now())

    @property
    def raw_status(self) -> VmStatus:
        """WaitForLaunch, Up or Down."""
        return VmStatus(self.record.status)

    @property
    def is_down(self) -> bool:
        """Whether it is a Down record."""
        return self.raw_status == VmStatus.DOWN

    @property
    def status(self) -> VmStatus:
        """The refined status, see the module."""
        if self.raw_status != VmStatus.UP:
            return self.raw_status
        if self.is_paused:
            return VmStatus.PAUSED
        status, lasts_seconds, since = self._phase
        return status if self._clock.now() - since < lasts_seconds else VmStatus.UP

    def stats(self, *, is_responding: bool) -> dict[str, Any]:
        """Return what VM.getStats answers: ExitedVmStats or RunningVmStats."""
        answer: dict[str, Any] = {
            "vmId": self.record.uuid,
            "vmName": self.record.name,
            "status": self.status.value,
            "statusTime": str(vdsm_clock_ms(self._changed_at)),
            "timeOffset": "0",
        }
        if self.is_down:
            return {**answer, **self._exit_fields()}
        elapsed_seconds = self._clock.now().boottime_seconds - self.record.started_at_seconds
        answer.update(
            vmType="kvm",
            pid=str(self.record.pid or 0),
            elapsedTime=str(max(0, int(elapsed_seconds))),
            monitorResponse="0" if is_responding else "-1",
            acpiEnable="true",
            displayInfo=[],
            guestIPs="",
            username="Unknown",
            clientIp="",
        )
        if self.pause_code:
            answer["pauseCode"] = self.pause_code
        return answer

    def summary(self) -> dict[str, str]:
        """Return the VM's element of Host.getVMList."""
        return {
            "vmId": self.record.uuid,
            "status": self.raw_status.value,
            "statusTime": str(vdsm_clock_ms(self._changed_at)),
        }

    def _exit_fields(self) -> dict[str, Any]:
        return {
            "exitCode": self.record.exit_code,
            "exitReason": self.record.exit_reason,
            "exitMessage": self.record.exit_message,
        }

    # Changes

    def save(self, **changes: Any) -> None:
        """Change fields of the record, on disk as well."""
        if changes.get("status", self.record.status) != self.record.status:
            self._changed_at = self._clock.now()
        self.record = dataclasses.replace(self.record, **changes)
        if self._is_forgotten:
            return
        try:
            registry.save(self._run_dir, self.record)
        except OSError as error:
            # The VM and its events go on; a restart finds it by its QEMU (registry.py).
            log.error("VM %s: its record can't be written: %s", self.record.uuid, error)

    def forget(self) -> None:
        """Remove the record from disk, for good."""
        self._is_forgotten = True
        registry.forget(self._run_dir, self.record.uuid)

    def powering_up(self) -> None:
        """The vCPUs have just begun to run."""
        self._set_phase(VmStatus.POWERING_UP, _POWERING_UP_SECONDS)

    def powering_down(self) -> None:
        """The guest has just been asked to power off."""
        self._set_phase(VmStatus.POWERING_DOWN, _POWERING_DOWN_SECONDS)

    def settle(self) -> None:
        """Forget a VM.shutdown that the guest did not heed: a later end is its own."""
        status, lasts_seconds, since = self._phase
        is_over = self._clock.now() - since >= lasts_seconds
        if self.record.is_shutdown_asked and (is_over or status != VmStatus.POWERING_DOWN):
            self.save(is_shutdown_asked=False)

    def rebooting(self) -> None:
        """The guest has just been reset."""
        self._set_phase(VmStatus.REBOOT_IN_PROGRESS, _REBOOT_SECONDS)

    def _set_phase(self, status: VmStatus, lasts_seconds: float) -> None:
        self._phase = (status, lasts_seconds, self._clock.now())
        self._changed_at = self._clock.now()

    def set_paused(self, is_paused: bool) -> None:
        """Note that the vCPUs have stopped, or run. As in VDSM a pause code ends with a cont."""
        if is_paused != self.is_paused:
            self.is_paused = is_paused
            self._changed_at = self._clock.now()
        if is_paused:
            self.pause_code = self.pause_code or "NOERR"

    def emit_status(self) -> None:
        """Tell the refined status, as partial as VDSM tells it (facts 1.4)."""
        more = {"pauseCode": self.pause_code} if self.status == VmStatus.PAUSED else {}
        self._emit(self.record.uuid, {"status": self.status.value, **more})

    def set_down(self, exit_code: int, reason: ExitReason, message: str = "") -> None:
        """Make the VM a Down record and tell it."""
        self.save(
            status=VmStatus.DOWN.value,
            pid=None,
            start_ticks=None,
            exit_code=exit_code,
            exit_reason=int(reason),
            exit_message=message or EXIT_MESSAGES[reason],
            is_lease_held=False,
        )
        self._emit(
            self.record.uuid,
            {"status": VmStatus.DOWN.value, "vmId": self.record.uuid, **self._exit_fields()},
        )

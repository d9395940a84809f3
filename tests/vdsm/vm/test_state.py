# SPDX-License-Identifier: Apache-2.0
"""A VM's status in VDSM's words, as time goes by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ha_agent.instant import Instant
from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm.registry import VmRecord
from ha_agent.vdsm.vm.state import VmState
from ha_agent.vdsm.vm_status import ExitReason, VmStatus

UUID = "44444444-4444-4444-8444-444444444444"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> Instant:
        return Instant(self.seconds)


def _state(folder: Path, **fields: Any) -> tuple[VmState, Hand, list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    clock = Hand()
    record = VmRecord(uuid=UUID, name="engine", xml="<domain/>", status="Up", **fields)
    state = VmState(record, folder, clock, lambda _uuid, said: told.append(said))
    return state, clock, told


def test_phases_pass(tmp_path: Path) -> None:
    state, clock, _ = _state(tmp_path)
    seen = [state.status.value]
    for seconds, change in ((61, None), (0, state.powering_down), (299, None), (2, None)):
        clock.seconds += seconds
        if change is not None:
            change()
        seen.append(state.status.value)
    state.rebooting()
    assert [*seen, state.status.value] == [
        "Powering up", "Up", "Powering down", "Powering down", "Up", "RebootInProgress",
    ]  # fmt: skip


def test_a_shutdown_that_is_not_heeded_is_forgotten(tmp_path: Path) -> None:
    state, clock, _ = _state(tmp_path)
    state.save(is_shutdown_asked=True)
    state.powering_down()
    state.settle()
    assert state.record.is_shutdown_asked
    clock.seconds += 301
    state.settle()
    [record] = registry.load_all(tmp_path)[0]
    assert not record.is_shutdown_asked


def test_a_vm_found_again_has_been_up_since_its_start(tmp_path: Path) -> None:
    state, _, _ = _state(tmp_path, pid=1, started_at_seconds=100.0)
    assert state.status == VmStatus.UP
    state, _, _ = _state(tmp_path, pid=1, started_at_seconds=990.0)
    assert state.status == VmStatus.POWERING_UP
    state, _, _ = _state(tmp_path, pid=1, started_at_seconds=100.0, is_shutdown_asked=True)
    assert state.status == VmStatus.POWERING_DOWN


def test_a_pause_has_a_code_and_goes_before_all_else(tmp_path: Path) -> None:
    state, _, told = _state(tmp_path)
    state.powering_down()
    state.pause_code = ""
    state.set_paused(True)
    state.emit_status()
    assert told == [{"status": "Paused", "pauseCode": "NOERR"}]
    assert state.raw_status == VmStatus.UP
    assert state.stats(is_responding=False)["monitorResponse"] == "-1"


def test_down_tells_why_and_a_forgotten_record_does_not_come_back(tmp_path: Path) -> None:
    state, _, told = _state(tmp_path, pid=1, is_lease_held=True)
    state.set_down(1, ExitReason.DESTROYED_ON_PAUSE_TIMEOUT)
    assert told[-1] == {
        "status": "Down",
        "vmId": UUID,
        "exitCode": 1,
        "exitReason": 14,
        "exitMessage": "VM destroyed on pause timeout",
    }
    assert (state.record.pid, state.record.is_lease_held) == (None, False)
    assert registry.load_all(tmp_path)[0] == [state.record]
    state.forget()
    state.save(is_lease_held=True)  # an order that was under way
    assert not (tmp_path / UUID / registry.RECORD).exists()

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent import observe
from ha_agent.fsm.observation import VmCondition, VmExit
from ha_agent.vdsm.vm_status import PauseCode
from ha_agent.virt import status
from ha_agent.virt.errors import LibvirtCode
from tests.virt.private_libvirtd import needs_libvirtd

VM = "44444444-4444-4444-8444-444444444444"


@pytest.mark.parametrize(
    ("state", "reason", "asked", "condition"),
    [
        (1, 1, False, VmCondition.UP),
        (1, 1, True, VmCondition.STOPPING),
        (2, 0, False, VmCondition.UP),
        (3, 1, False, VmCondition.PAUSED),
        (3, 5, False, VmCondition.PAUSED),
        (3, 11, False, VmCondition.STARTING),
        (3, 2, False, VmCondition.UNKNOWN),
        (4, 1, False, VmCondition.STOPPING),
        (6, 0, False, VmCondition.PAUSED),
        (7, 0, False, VmCondition.PAUSED),
        (0, 0, False, VmCondition.UNKNOWN),
        (99, 0, False, VmCondition.UNKNOWN),
    ],
)
def test_what_an_active_domain_is_to_the_state_machine(
    state: int, reason: int, asked: bool, condition: VmCondition
) -> None:
    stats = status.active_stats(VM, state, reason, shutdown_asked=asked)
    assert observe.vm_view(stats).condition is condition


def test_an_io_error_is_told() -> None:
    assert status.active_stats(VM, 3, 5).pause_code is PauseCode.EIO


@pytest.mark.parametrize(
    ("detail", "asked", "ended"),
    [
        (0, False, VmExit.POWERED_OFF),
        (0, True, VmExit.STOPPED),
        (1, False, VmExit.STOPPED),
        (2, False, VmExit.CRASHED),
        (3, False, VmExit.MIGRATED),
        (4, False, VmExit.STOPPED),
        (5, False, VmExit.CRASHED),
        (5, True, VmExit.CRASHED),
        (99, False, VmExit.CRASHED),
    ],
)
def test_how_a_domain_ended(detail: int, asked: bool, ended: VmExit) -> None:
    view = observe.vm_view(status.ended_stats(VM, detail, shutdown_asked=asked))
    assert view.condition is VmCondition.DOWN
    assert view.exit is ended


def test_a_start_under_way_and_one_that_nobody_knows_of() -> None:
    assert observe.vm_view(status.launching_stats(VM)).launching
    assert observe.vm_view(status.unsure_stats(VM, "why")).condition is VmCondition.UNKNOWN


def test_a_failed_start_that_lost_a_race_is_told_by_its_words() -> None:
    words = "Failed to acquire lock: Lease is held by another host"
    assert observe.vm_view(status.failed_stats(VM, words)).exit is VmExit.LEASE_HELD_ELSEWHERE


@needs_libvirtd
def test_numbers_are_those_of_libvirt() -> None:
    import libvirt

    assert status.DomainState.CRASHED == libvirt.VIR_DOMAIN_CRASHED
    assert status.PausedReason.STARTING_UP == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP
    assert status.PausedReason.IO_ERROR == libvirt.VIR_DOMAIN_PAUSED_IOERROR
    assert status.PausedReason.MIGRATION == libvirt.VIR_DOMAIN_PAUSED_MIGRATION
    assert status.Lifecycle.STOPPED == libvirt.VIR_DOMAIN_EVENT_STOPPED
    for detail in status.Stopped:
        assert detail == getattr(libvirt, f"VIR_DOMAIN_EVENT_STOPPED_{detail.name}")
    for code in LibvirtCode:
        assert code == getattr(libvirt, f"VIR_ERR_{code.name}")

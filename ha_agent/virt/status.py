# SPDX-License-Identifier: Apache-2.0
"""libvirt's states, reasons and events of a domain, told in VDSM's words. Pure.

The state machine knows one vocabulary, that of vdsm/vm_status.py, and this is its translation:

    libvirt's state          VmStatus               why
    running, blocked         Up
    being shut down          Powering down          the guest has powered off, QEMU ends
    paused: starting up      WaitForLaunch          QEMU is there, the start is not finished
    paused: migration        none, so UNKNOWN       source and target look alike for a moment
    paused, suspended        Paused
    crashed, but active      Paused                 QEMU lives, holding its locks, without a guest
    shut off                 no VM                  a definition only: not ours, see verbs.py

A transient domain leaves nothing behind. How it ended is told by one event only, and kept by
verbs.py as a record that is Down, as VDSM keeps one.

The numbers are those of libvirt's include/libvirt/libvirt-domain.h: part of its ABI.
"""

from __future__ import annotations

import enum
from typing import Optional

from ha_agent.vdsm.vm_status import ExitReason, PauseCode, VmStats, VmStatus

_EXIT_NORMAL = 0
_EXIT_ERROR = 1


class DomainState(enum.IntEnum):
    """virDomainState."""

    NO_STATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUT_OFF = 5
    CRASHED = 6
    SUSPENDED = 7


class PausedReason(enum.IntEnum):
    """virDomainPausedReason, those that we tell apart."""

    MIGRATION = 2
    IO_ERROR = 5
    STARTING_UP = 11
    POST_COPY = 12
    POST_COPY_FAILED = 13


class Lifecycle(enum.IntEnum):
    """virDomainEventType, those that we tell apart."""

    STARTED = 2
    STOPPED = 5


class Stopped(enum.IntEnum):
    """virDomainEventStoppedDetailType."""

    SHUTDOWN = 0
    DESTROYED = 1
    CRASHED = 2
    MIGRATED = 3
    SAVED = 4
    FAILED = 5
    FROM_SNAPSHOT = 6


_STATUS = {
    DomainState.RUNNING: VmStatus.UP,
    DomainState.BLOCKED: VmStatus.UP,
    DomainState.PAUSED: VmStatus.PAUSED,
    DomainState.SHUTDOWN: VmStatus.POWERING_DOWN,
    DomainState.CRASHED: VmStatus.PAUSED,
    DomainState.SUSPENDED: VmStatus.PAUSED,
}

_EXITS = {
    Stopped.SHUTDOWN: (_EXIT_NORMAL, ExitReason.USER_SHUTDOWN, "the guest has powered off"),
    Stopped.DESTROYED: (_EXIT_NORMAL, ExitReason.ADMIN_SHUTDOWN, "destroyed"),
    Stopped.CRASHED: (_EXIT_ERROR, ExitReason.LOST_QEMU_CONNECTION, "the guest has crashed"),
    Stopped.MIGRATED: (_EXIT_NORMAL, ExitReason.MIGRATION_SUCCEEDED, "migrated to another host"),
    Stopped.SAVED: (_EXIT_NORMAL, ExitReason.SAVE_STATE_SUCCEEDED, "its state was saved"),
    # What kill -9 of QEMU gives, and its own abort().
    Stopped.FAILED: (_EXIT_ERROR, ExitReason.LOST_QEMU_CONNECTION, "QEMU has ended by itself"),
    Stopped.FROM_SNAPSHOT: (_EXIT_NORMAL, ExitReason.ADMIN_SHUTDOWN, "a snapshot was loaded"),
}


def active_stats(vm_id: str, state: int, reason: int, *, shutdown_asked: bool = False) -> VmStats:
    """Return what an active domain's virDomainGetState says; an unknown state is UNKNOWN.

    `shutdown_asked`: we have asked the guest, which libvirt does not show.
    """
    text = f"libvirt's state {state}, reason {reason}"
    if state not in DomainState.__members__.values():
        return VmStats(vm_id, status_text=text)
    known = DomainState(state)
    status = _STATUS.get(known)
    pause: Optional[PauseCode] = None
    if known is DomainState.PAUSED:
        if reason == PausedReason.MIGRATION:
            return VmStats(vm_id, status_text=f"migrating ({text})")
        if reason == PausedReason.STARTING_UP:
            status = VmStatus.WAIT_FOR_LAUNCH
        if reason == PausedReason.IO_ERROR:
            pause = PauseCode.EIO
        if reason in (PausedReason.POST_COPY, PausedReason.POST_COPY_FAILED):
            pause = PauseCode.POSTCOPY
    if shutdown_asked and status is VmStatus.UP:
        status = VmStatus.POWERING_DOWN
    status_text = status.value if status is not None else text
    return VmStats(
        vm_id,
        status=status,
        status_text=status_text,
        pause_code=pause,
        pause_code_text="" if pause is None else pause.value,
    )


def launching_stats(vm_id: str) -> VmStats:
    """Return what is said of a VM whose start is under way and has no domain yet."""
    status = VmStatus.WAIT_FOR_LAUNCH
    return VmStats(vm_id, status=status, status_text=status.value)


def unsure_stats(vm_id: str, why: str) -> VmStats:
    """Return what is said where a start may still come to something: nothing is decided on it."""
    return VmStats(vm_id, status_text=why)


def ended_stats(vm_id: str, detail: int, *, shutdown_asked: bool) -> VmStats:
    """Return the Down record of a VM that ended, from the detail of its STOPPED event.

    `shutdown_asked`: we asked the guest, so its powering off is no wish of its own.
    """
    code: int
    reason: Optional[ExitReason]
    code, reason, message = _EXIT_ERROR, ExitReason.GENERIC_ERROR, f"ended, detail {detail}"
    if detail in Stopped.__members__.values():
        code, reason, message = _EXITS[Stopped(detail)]
    if shutdown_asked and reason is ExitReason.USER_SHUTDOWN:
        reason = ExitReason.ADMIN_SHUTDOWN
    return VmStats(
        vm_id,
        status=VmStatus.DOWN,
        status_text=VmStatus.DOWN.value,
        exit_code=code,
        exit_reason=reason,
        exit_reason_number=int(reason),
        exit_message=message,
    )


def failed_stats(vm_id: str, why: str) -> VmStats:
    """Return the Down record of a start that failed, or of an end that nobody saw."""
    reason = ExitReason.GENERIC_ERROR
    return VmStats(
        vm_id,
        status=VmStatus.DOWN,
        status_text=VmStatus.DOWN.value,
        exit_code=_EXIT_ERROR,
        exit_reason=reason,
        exit_reason_number=int(reason),
        exit_message=why,
    )

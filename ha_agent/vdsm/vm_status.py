# SPDX-License-Identifier: Apache-2.0
"""What VDSM says about a VM, from whichever of its three mouths, as one value. Pure.

VM.getStats, Host.getVMList and the event `|virt|VM_status|<vm>` tell overlapping parts, with
other field names and types (facts 1.4, 2 and 3). Events are partial: after VM.cont just
{"status": "Powering up"}. So every field of `VmStats` but the VM's id may be missing, unknown
fields are ignored, and a status or reason that a newer VDSM adds is kept as text or number.

Host.getVMList tells libvirt's raw status: "Up" while VM.getStats says "Powering up".
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.jsonrpc import Event

_STATUS_EVENT_PREFIX = "|virt|VM_status|"
_MAX_TEXT_CHARS = 4096
_MAX_INTEGER_DIGITS = 20


class VmStatus(enum.Enum):
    """VDSM's words for a VM's state (vdsm's virt/vmstatus.py)."""

    WAIT_FOR_LAUNCH = "WaitForLaunch"
    POWERING_UP = "Powering up"  # runs; no guest agent has said Up yet, at most 60 s after start
    UP = "Up"
    POWERING_DOWN = "Powering down"  # up to 300 s after VM.shutdown
    REBOOT_IN_PROGRESS = "RebootInProgress"
    PAUSED = "Paused"
    MIGRATION_SOURCE = "Migration Source"
    MIGRATION_DESTINATION = "Migration Destination"  # not ours yet
    SAVING_STATE = "Saving State"
    RESTORING_STATE = "Restoring state"
    DOWN = "Down"  # a record that stays, and blocks VM.create, until VM.destroy


class ExitReason(enum.IntEnum):
    """Why a VM is Down (vdsm's virt/vmexitreason.py)."""

    SUCCESS = 0
    GENERIC_ERROR = 1  # also: the start failed; the exit message says why
    LOST_QEMU_CONNECTION = 2  # QEMU crashed or was killed
    LIBVIRT_START_FAILED = 3
    MIGRATION_SUCCEEDED = 4  # no failure: it runs elsewhere
    SAVE_STATE_SUCCEEDED = 5
    ADMIN_SHUTDOWN = 6  # VM.shutdown, VM.destroy
    USER_SHUTDOWN = 7  # powered off from inside
    MIGRATION_FAILED = 8
    LIBVIRT_DOMAIN_MISSING = 9
    DESTROYED_ON_STARTUP = 10
    HOST_SHUTDOWN = 11
    POSTCOPY_MIGRATION_FAILED = 12
    DESTROYED_ON_REBOOT = 13
    DESTROYED_ON_PAUSE_TIMEOUT = 14


class PauseCode(enum.Enum):
    """Why a VM is paused (facts 3). It means something only while the status is Paused."""

    NOERR = "NOERR"  # asked for; a VM that runs and was never paused has it, too
    EIO = "EIO"
    ENOSPC = "ENOSPC"
    EOTHER = "EOTHER"
    EPERM = "EPERM"
    POSTCOPY = "POSTCOPY"


@dataclass(frozen=True)
class VmStats:
    """One report about one VM. None and "" mean that this report does not say.

    `status` is None also for a word that we don't know; `status_text` has the word as VDSM said
    it. The same goes for `exit_reason` and `exit_reason_number`, `pause_code` and
    `pause_code_text`. `exit_code` is 0 for a normal end and 1 for an error.
    `vdsm_clock_ms` orders reports of one host since its boot: 2**31 - 1 plus its monotonic
    clock, as integer (statusTime or notify_time).
    """

    vm_id: str
    status: Optional[VmStatus] = None
    status_text: str = ""
    exit_code: Optional[int] = None
    exit_reason: Optional[ExitReason] = None
    exit_reason_number: Optional[int] = None
    exit_message: str = ""
    pause_code: Optional[PauseCode] = None
    pause_code_text: str = ""
    vdsm_clock_ms: Optional[int] = None


class LockFailure(enum.Enum):
    """Why a start or a VM.cont did not get its lock."""

    HELD_BY_OTHER_HOST = "another host holds the VM lease"
    HELD_ON_THIS_HOST = "another process on this host holds the VM lease"
    IMAGE_IN_USE = "another process uses the disk image"
    LOCKSPACE_NOT_JOINED = "this host has not joined the lockspace"
    OUT_OF_REACH = "this host can't use the VM lease's file"
    OTHER = "the lock manager refused the VM lease"


# What VDSM has a code for (facts 1.3). A code that names another fault leaves nothing to the words
# of its message: only these below carry libvirt's words.
_LOCK_CODES = {
    VdsmCode.CANNOT_ACQUIRE_HOST_ID: LockFailure.LOCKSPACE_NOT_JOINED,
    VdsmCode.HOST_ID_MISMATCH: LockFailure.LOCKSPACE_NOT_JOINED,
    VdsmCode.CLUSTER_LOCK_INIT_ERROR: LockFailure.OUT_OF_REACH,  # sanlock is down
}
_CODES_WITH_WORDS = (
    VdsmCode.CANNOT_CREATE_VM,
    VdsmCode.GENERAL_EXCEPTION,
    VdsmCode.INTERNAL_ERROR,
)
# A lost VM lease has exit reason 1 and no code of its own (seen, facts 3).
_REASONS_WITH_WORDS = (None, ExitReason.GENERIC_ERROR, ExitReason.LIBVIRT_START_FAILED)

# VDSM gives no code for these, only libvirt's, sanlock's or QEMU's words. Row order is precedence.
_LOCK_FAILURES: tuple[tuple[re.Pattern[str], LockFailure, str], ...] = (
    (
        re.compile(
            r"Failed to acquire lock: .*"
            r"(Lease lockspace|No such file|No space left|error -24[12]\b)"
        ),
        LockFailure.LOCKSPACE_NOT_JOINED,
        "sanlock client.c: the lockspace is missing, stale or not joined: not a lost race",
    ),
    (
        re.compile(
            r"Failed to acquire lock: (Permission denied|Read-only file system"
            r"|Input/output error|Stale file handle|No locks available)"
        ),
        LockFailure.OUT_OF_REACH,
        "strerror(3), by the embedded VDSM and by libvirt: a fault of this host or its mount",
    ),
    (
        re.compile(r"Failed to (open socket to|register with) sanlock daemon"),
        LockFailure.OUT_OF_REACH,
        "libvirt lock_driver_sanlock.c, and the embedded VDSM: the daemon is down on this host",
    ),
    (
        re.compile(r"Failed to acquire lock: (Lease is held by another host|.*error -243)"),
        LockFailure.HELD_BY_OTHER_HOST,
        "sanlock client.c, SANLK_ACQUIRE_IDLIVE -243; the number came with older libvirt",
    ),
    (
        re.compile(r"Failed to acquire lock: .*(acquired by another host|error -24[45])"),
        LockFailure.HELD_BY_OTHER_HOST,
        "sanlock client.c, -244 (other ballot) and -245 (local commit): a close race",
    ),
    (
        re.compile(
            r"Failed to acquire lock: .*(owned by another host|for shared acquire|error -24[67])"
        ),
        LockFailure.HELD_BY_OTHER_HOST,
        "sanlock client.c, -247 (owned) and -246 (shared)",
    ),
    (
        re.compile(r"Failed to acquire lock: File exists"),
        LockFailure.HELD_ON_THIS_HOST,
        "seen on vdsm fd4b0df2: EEXIST from sanlock, same host",
    ),
    (
        re.compile(r"Is another process using the image"),
        LockFailure.IMAGE_IN_USE,
        "QEMU block/file-posix.c image locking, at the end of libvirt's message",
    ),
    (
        re.compile(r"Failed to acquire lock:"),
        LockFailure.OTHER,
        "libvirt locking/lock_driver_sanlock.c, with words that this table does not know",
    ),
)


def lock_failure(message: str) -> Optional[LockFailure]:
    """Return what an exit message, or the text of VM.cont's error, says about a lock."""
    for pattern, failure, _source in _LOCK_FAILURES:
        if pattern.search(message):
            return failure
    return None


def lock_failure_of_error(code: int, message: str) -> Optional[LockFailure]:
    """Return what VDSM's error says about a lock: by its code, by its words where it has none."""
    known = {int(lock): failure for lock, failure in _LOCK_CODES.items()}.get(code)
    if known is not None or code not in _CODES_WITH_WORDS:
        return known
    return lock_failure(message)


def lock_failure_of_end(stats: VmStats) -> Optional[LockFailure]:
    """Return what a Down VM's report says about a lock; its words count only with an exit
    reason that leaves open what it was."""
    known = stats.exit_reason_number is None or stats.exit_reason is not None
    if known and stats.exit_reason not in _REASONS_WITH_WORDS:
        return None
    return lock_failure(stats.exit_message)


def is_lost_race(failure: Optional[LockFailure]) -> bool:
    """Tell whether the VM did not start because it runs, or starts, somewhere else.

    True too for a refusal in words that we don't know: to count it as a crash of the VM would
    be the worse mistake. False for what this host alone can't lock.
    """
    return failure not in (None, LockFailure.LOCKSPACE_NOT_JOINED, LockFailure.OUT_OF_REACH)


def lost_lease_race(exit_message: str) -> bool:
    """Tell by the words alone whether the race for the VM lease was lost."""
    return is_lost_race(lock_failure(exit_message))


def parse_vm_stats(value: Any, *, vm_id: str = "", notify_time: Any = None) -> VmStats:
    """Read one VM's object from VM.getStats, Host.getVMList or an event.

    `vm_id` is used when the object has none. Raises BadInput when it is no object or no VM id
    is known; odd values of single fields count as missing.
    """
    if not isinstance(value, Mapping):
        raise BadInput("a VM's status is no object", where=vm_id)
    vm_id = _text(value.get("vmId")) or vm_id
    if not vm_id:
        raise BadInput("a VM's status without vmId")
    status_text = _text(value.get("status"))
    pause_text = _text(value.get("pauseCode"))
    reason_number = _integer(value.get("exitReason"))
    reported_at = notify_time if notify_time is not None else value.get("statusTime")
    return VmStats(
        vm_id=vm_id,
        status=_STATUS_BY_TEXT.get(status_text),
        status_text=status_text,
        exit_code=_integer(value.get("exitCode")),
        exit_reason=_REASON_BY_NUMBER.get(reason_number) if reason_number is not None else None,
        exit_reason_number=reason_number,
        exit_message=_text(value.get("exitMessage")),
        pause_code=_PAUSE_BY_TEXT.get(pause_text),
        pause_code_text=pause_text,
        vdsm_clock_ms=_integer(reported_at),
    )


def parse_status_event(event: Event) -> Optional[VmStats]:
    """Read a VM status event; None when the event is of another kind. Raises BadInput."""
    if not event.method.startswith(_STATUS_EVENT_PREFIX):
        return None
    vm_id = event.method[len(_STATUS_EVENT_PREFIX) :]
    if not vm_id or not isinstance(event.params, Mapping) or vm_id not in event.params:
        raise BadInput("a VM status event without that VM's object", where=event.method[:100])
    notify_time = event.params.get("notify_time")
    return parse_vm_stats(event.params[vm_id], vm_id=vm_id, notify_time=notify_time)


_STATUS_BY_TEXT = {status.value: status for status in VmStatus}
_PAUSE_BY_TEXT = {code.value: code for code in PauseCode}
_REASON_BY_NUMBER = {int(reason): reason for reason in ExitReason}


def _text(value: Any) -> str:
    """Return a text that can be written as UTF-8 and has a bounded length, "" for no text."""
    if not isinstance(value, str):
        return ""
    return value[:_MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")


def _integer(value: Any) -> Optional[int]:
    """Return an integer that comes as such or as decimal text, as statusTime does."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) <= _MAX_INTEGER_DIGITS and value.isdecimal():
        return int(value)
    return None

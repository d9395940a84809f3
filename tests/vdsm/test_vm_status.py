# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import (
    ExitReason,
    LockFailure,
    PauseCode,
    VmStats,
    VmStatus,
    is_lost_race,
    lock_failure,
    lock_failure_of_end,
    lock_failure_of_error,
    lost_lease_race,
    parse_status_event,
    parse_vm_stats,
)

VM_ID = "22222222-2222-2222-2222-222222222222"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
)


def test_a_down_vm() -> None:
    stats = parse_vm_stats(
        {
            "vmId": VM_ID,
            "status": "Down",
            "statusTime": "2150378905",
            "exitCode": 1,
            "exitReason": 2,
            "exitMessage": "Lost connection with qemu process",
            "somethingNew": {},
        }
    )
    assert stats == VmStats(
        vm_id=VM_ID,
        status=VmStatus.DOWN,
        status_text="Down",
        exit_code=1,
        exit_reason=ExitReason.LOST_QEMU_CONNECTION,
        exit_reason_number=2,
        exit_message="Lost connection with qemu process",
        vdsm_clock_ms=2150378905,
    )


def test_a_paused_vm() -> None:
    stats = parse_vm_stats({"vmId": VM_ID, "status": "Paused", "pauseCode": "EIO"})
    assert (stats.status, stats.pause_code) == (VmStatus.PAUSED, PauseCode.EIO)
    assert stats.pause_code_text == "EIO"
    assert (stats.exit_code, stats.exit_reason, stats.vdsm_clock_ms) == (None, None, None)


@pytest.mark.parametrize("status", VmStatus)
def test_every_status_is_known_by_its_word(status: VmStatus) -> None:
    assert parse_vm_stats({"vmId": "1", "status": status.value}).status is status


def test_the_words_are_vdsms() -> None:
    assert {status.value for status in VmStatus} == {
        "WaitForLaunch",
        "Powering up",
        "Up",
        "Powering down",
        "RebootInProgress",
        "Paused",
        "Migration Source",
        "Migration Destination",
        "Saving State",
        "Restoring state",
        "Down",
    }
    assert [int(reason) for reason in ExitReason] == list(range(15))
    pauses = {"NOERR", "EIO", "ENOSPC", "EOTHER", "EPERM", "POSTCOPY"}
    assert {code.value for code in PauseCode} == pauses


def test_what_a_newer_vdsm_may_say_is_kept() -> None:
    stats = parse_vm_stats(
        {"vmId": "1", "status": "Teleporting", "exitReason": 99, "pauseCode": "EBUSY"}
    )
    assert (stats.pause_code, stats.pause_code_text) == (None, "EBUSY")
    assert (stats.status, stats.status_text) == (None, "Teleporting")
    assert (stats.exit_reason, stats.exit_reason_number) == (None, 99)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["vmId", "status", "exitCode", "exitReason", "statusTime", "exitMessage"]),
        json_values,
    )
)
def test_odd_fields_count_as_missing(value: dict[str, Any]) -> None:
    stats = parse_vm_stats(value, vm_id=VM_ID)
    assert stats.vm_id
    stats.exit_message.encode()
    if not isinstance(value.get("exitCode"), (int, str)):
        assert stats.exit_code is None


def test_what_is_no_vm() -> None:
    values: list[Any] = [None, [], "Up", 1]
    for value in values:
        with pytest.raises(BadInput):
            parse_vm_stats(value, vm_id=VM_ID)
    with pytest.raises(BadInput, match="without vmId"):
        parse_vm_stats({"status": "Up"})


def test_event_is_partial_and_has_its_own_time() -> None:
    params = {VM_ID: {"status": "Powering up"}, "notify_time": 2150378905}
    assert parse_status_event(Event(f"|virt|VM_status|{VM_ID}", params)) == VmStats(
        vm_id=VM_ID,
        status=VmStatus.POWERING_UP,
        status_text="Powering up",
        vdsm_clock_ms=2150378905,
    )


def test_other_events_are_not_ours() -> None:
    for method in ("|net|host_conn|no_id", f"|virt|VM_migration_status|{VM_ID}", "x", ""):
        assert parse_status_event(Event(method, {})) is None


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (f"|virt|VM_status|{VM_ID}", {}),
        (f"|virt|VM_status|{VM_ID}", []),
        (f"|virt|VM_status|{VM_ID}", {VM_ID: "Up"}),
        ("|virt|VM_status|", {"": {}}),
    ],
)
def test_bad_events(method: str, params: Any) -> None:
    with pytest.raises(BadInput):
        parse_status_event(Event(method, params))


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        (
            "resource busy: Failed to acquire lock: Lease is held by another host",
            LockFailure.HELD_BY_OTHER_HOST,
        ),
        ("resource busy: Failed to acquire lock: error -243", LockFailure.HELD_BY_OTHER_HOST),
        (
            "Failed to acquire lock: Lease was acquired by another host in other ballot",
            LockFailure.HELD_BY_OTHER_HOST,
        ),
        (
            "Failed to acquire lock: Lease was acquired by another host in local commit",
            LockFailure.HELD_BY_OTHER_HOST,
        ),
        (
            "Failed to acquire lock: Lease is owned by another host",
            LockFailure.HELD_BY_OTHER_HOST,
        ),
        ("Failed to acquire lock: error -245", LockFailure.HELD_BY_OTHER_HOST),
        (
            "General Exception: ('Failed to acquire lock: File exists',)",
            LockFailure.HELD_ON_THIS_HOST,
        ),
        (
            'qemu: Failed to get "write" lock\nIs another process using the image [/a]?',
            LockFailure.IMAGE_IN_USE,
        ),
        ("Failed to acquire lock: words of tomorrow", LockFailure.OTHER),
    ],
)
def test_lost_races(message: str, failure: LockFailure) -> None:
    assert lock_failure(message) is failure
    assert lost_lease_race(message)


@pytest.mark.parametrize(
    "message",
    [
        "Failed to acquire lock: Lease lockspace is not joined",
        "Failed to acquire lock: No such file or directory",
        "Failed to acquire lock: No space left on device",
    ],
)
def test_a_missing_lockspace_is_no_lost_race(message: str) -> None:
    assert lock_failure(message) is LockFailure.LOCKSPACE_NOT_JOINED
    assert not lost_lease_race(message)


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOLCK]
)
def test_a_lease_file_out_of_reach_is_no_lost_race(number: int) -> None:
    message = f"Failed to acquire lock: {os.strerror(number)} (/a.lease)"
    assert lock_failure(message) is LockFailure.OUT_OF_REACH
    assert not lost_lease_race(message)


@pytest.mark.parametrize(
    "message", ["", "Lost connection with qemu process", "error -243", "no bootable device"]
)
def test_other_ends_say_nothing_about_locks(message: str) -> None:
    assert lock_failure(message) is None
    assert not lost_lease_race(message)


HELD = "Failed to acquire lock: Lease is held by another host"


@pytest.mark.parametrize(
    ("code", "message", "failure"),
    [
        (100, f"General Exception: ('{HELD}',)", LockFailure.HELD_BY_OTHER_HOST),
        (9, HELD, LockFailure.HELD_BY_OTHER_HOST),
        (100, "no lock at all", None),
        (661, "Cannot acquire host id", LockFailure.LOCKSPACE_NOT_JOINED),
        (700, HELD, LockFailure.LOCKSPACE_NOT_JOINED),
        (701, "", LockFailure.OUT_OF_REACH),
        (4, HELD, None),
        (1, HELD, None),
        (123456, HELD, None),
    ],
)
def test_a_code_comes_before_the_words(
    code: int, message: str, failure: Optional[LockFailure]
) -> None:
    assert lock_failure_of_error(code, message) is failure


@pytest.mark.parametrize("number", [None, *range(15), 99])
def test_the_words_count_only_where_the_exit_reason_leaves_it_open(number: Optional[int]) -> None:
    stats = parse_vm_stats(
        {"vmId": "1", "status": "Down", "exitReason": number, "exitMessage": HELD}
    )
    open_reasons = (None, 1, 3, 99)
    expected = LockFailure.HELD_BY_OTHER_HOST if number in open_reasons else None
    assert lock_failure_of_end(stats) is expected


@pytest.mark.parametrize(
    ("number", "failure"),
    [
        (-241, LockFailure.LOCKSPACE_NOT_JOINED),
        (-243, LockFailure.HELD_BY_OTHER_HOST),
        (-244, LockFailure.HELD_BY_OTHER_HOST),
        (-246, LockFailure.HELD_BY_OTHER_HOST),
        (-247, LockFailure.HELD_BY_OTHER_HOST),
        (-299, LockFailure.OTHER),
    ],
)
def test_sanlocks_numbers(number: int, failure: LockFailure) -> None:
    assert lock_failure(f"Failed to acquire lock: error {number}") is failure


def test_a_fault_of_this_host_is_no_lost_race() -> None:
    lost = {failure for failure in LockFailure if is_lost_race(failure)}
    ours = {LockFailure.LOCKSPACE_NOT_JOINED, LockFailure.OUT_OF_REACH}
    assert lost == set(LockFailure) - ours
    assert not is_lost_race(None)

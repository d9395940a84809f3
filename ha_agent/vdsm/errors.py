# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between us and VDSM, as types, and VDSM's error codes by name.

Whether a call that failed may have taken effect, or still may, stands in `may_have_executed`. A
verb that changes something is never repeated blindly after such an error: look first.
"""

from __future__ import annotations

import enum

from ha_agent.errors import DeadlineExceeded, EnvironmentFault


class VdsmCode(enum.IntEnum):
    """The error codes that we tell apart (facts 1.3; vdsm's common/exception.py and
    storage/exception.py). VDSM has more: unknown ones stay plain numbers.
    """

    NO_SUCH_VM = 1  # also VM.shutdown of a Down VM
    VM_EXISTS = 4  # a record, perhaps Down; from VM.shutdown: no way to shut it down
    VM_IS_DOWN = 6
    CANNOT_CREATE_VM = 9
    NO_CONNECTION_TO_PEER = 10
    MIGRATION_ERROR = 12
    GUEST_AGENT_SILENT = 19
    RESOURCE_UNAVAILABLE = 40
    VM_DESTROY_FAILED = 42
    MIGRATION_CANCEL_FAILED = 47
    MIGRATION_IN_PROGRESS = 51
    HA_POLICY_NOT_SET = 61
    SET_HA_POLICY_FAILED = 61
    MIGRATION_NOT_IN_PROGRESS = 81
    MIGRATION_LIMIT_EXCEEDED = 82
    RECOVERY_IN_PROGRESS = 99  # 10 to 11 s after every start of vdsmd
    GENERAL_EXCEPTION = 100
    STORAGE_EXCEPTION = 200
    VOLUME_DOES_NOT_EXIST = 201
    INCORRECT_FORMAT = 202
    VOLUME_ALREADY_EXISTS = 212
    IMAGE_PATH_ERROR = 254
    POOL_NOT_CONNECTED = 309
    DOMAIN_DOES_NOT_EXIST = 358
    FILE_SYSTEM_NOT_MOUNTED = 360
    DOMAIN_ACCESS_ERROR = 379
    TASK_UNKNOWN = 401
    TASK_NOT_FINISHED = 403
    STORAGE_CONNECTION_ERROR = 451
    MOUNT_ERROR = 477
    SPM_LOCK_ERROR = 651
    NOT_SPM = 654
    CANNOT_ACQUIRE_HOST_ID = 661
    HOST_ID_MISMATCH = 700
    CLUSTER_LOCK_INIT_ERROR = 701
    DOMAIN_IS_MEMBER_OF_POOL = 900
    INVALID_PARAMETER = 1000
    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603


class VdsmError(EnvironmentFault):
    """Base: VDSM is away, refused, or answered nonsense.

    `may_have_executed`: whether the request may have taken effect although we got no answer.
    """

    may_have_executed: bool = False


class VdsmUnreachable(VdsmError):
    """There is no working connection, so the request was not sent.

    `peer` is host:port; `reason` why: refused, TLS, VDSM still recovering (code 99), ...
    """

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"VDSM at {peer} can't be reached: {reason}")
        self.peer = peer
        self.reason = reason


class VdsmConnectionLost(VdsmError):
    """The connection ended while the request was under way, or waited to be sent."""

    def __init__(self, peer: str, reason: str, *, may_have_executed: bool) -> None:
        unsent = "" if may_have_executed else " (nothing of the request was sent)"
        super().__init__(f"connection to VDSM at {peer} lost: {reason}{unsent}")
        self.peer = peer
        self.reason = reason
        self.may_have_executed = may_have_executed


class VdsmNoAnswer(DeadlineExceeded, VdsmError):
    """A call's deadline passed. What had not been sent by then never is."""

    def __init__(self, verb: str, deadline_seconds: float, *, may_have_executed: bool) -> None:
        super().__init__(f"VDSM {verb}", deadline_seconds)
        self.verb = verb
        self.may_have_executed = may_have_executed


class VdsmCallFailed(VdsmError):
    """VDSM answered with an error: its `code`, its `message`, and the `verb` that was called."""

    def __init__(self, verb: str, code: int, message: str) -> None:
        super().__init__(f"VDSM refused {verb}: {message} (code {code}, {code_name(code)})")
        self.verb = verb
        self.code = code
        self.message = message


class VdsmBadAnswer(VdsmError):
    """VDSM answered, but not in the documented shape. The request did take effect."""

    may_have_executed = True

    def __init__(self, verb: str, what: str) -> None:
        super().__init__(f"VDSM's answer to {verb} can't be used: {what}")
        self.verb = verb
        self.what = what


def code_name(code: int) -> str:
    """Return a code's name in words, "unknown" when the table does not have it."""
    try:
        return VdsmCode(code).name.replace("_", " ").lower()
    except ValueError:
        return "unknown"

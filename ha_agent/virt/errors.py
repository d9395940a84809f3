# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between us and libvirt, as types, and those of its numbers that we use.

A call that got no answer in time raises `ha_agent.errors.DeadlineExceeded`; it may still take
effect. What the types below say about that stands in `may_have_executed`. What changes something
is never repeated blindly after such an error: look first.
"""

from __future__ import annotations

import enum

from ha_agent.errors import EnvironmentFault


class LibvirtCode(enum.IntEnum):
    """virErrorNumber of include/libvirt/virterror.h: part of its ABI, never renumbered."""

    INTERNAL_ERROR = 1
    NO_SUPPORT = 3
    OPERATION_FAILED = 9
    NO_DOMAIN = 42
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    RESOURCE_BUSY = 87


class LibvirtError(EnvironmentFault):
    """Base: libvirt is away, or refused.

    `may_have_executed`: whether the request may have taken effect although we got no answer.
    """

    may_have_executed: bool = False


class LibvirtUnreachable(LibvirtError):
    """There is no working connection, so the request was not sent."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"libvirt at {uri} can't be reached: {reason}")
        self.reason = reason


class LibvirtConnectionLost(LibvirtError):
    """The connection ended while the request was under way."""

    def __init__(self, uri: str, reason: str, *, may_have_executed: bool) -> None:
        super().__init__(f"connection to libvirt at {uri} lost: {reason}")
        self.reason = reason
        self.may_have_executed = may_have_executed


class LibvirtCallFailed(LibvirtError):
    """libvirt answered with an error: its `code`, its `message`, and `what` was asked of it."""

    def __init__(self, what: str, code: int, message: str) -> None:
        super().__init__(f"libvirt refused to {what}: {message} (code {code})")
        self.what = what
        self.code = code
        self.message = message


class VmLeaseMissing(LibvirtError):
    """The VM was started, was found to have no lease, and was ended again at once."""


class VmExists(LibvirtError):
    """There is a VM, or the record of one that ended, which has to be destroyed first."""

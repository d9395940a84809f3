# SPDX-License-Identifier: Apache-2.0
"""Why a VM ended, in VDSM's codes and words (vdsm's virt/vmexitreason.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from ha_agent.vdsm.qemu.process import LOG, QemuExit
from ha_agent.vdsm.vm_status import ExitReason

_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 4
_REBOOTS = ("guest-reset", "host-qmp-system-reset")

EXIT_MESSAGES = {
    ExitReason.GENERIC_ERROR: "VM terminated with error",
    ExitReason.LOST_QEMU_CONNECTION: "Lost connection with qemu process",
    ExitReason.ADMIN_SHUTDOWN: "Admin shut down from the engine",
    ExitReason.USER_SHUTDOWN: "User shut down from within the guest",
    ExitReason.HOST_SHUTDOWN: "VM has been terminated on host shutdown",
    ExitReason.DESTROYED_ON_REBOOT: "VM destroyed on reboot",
    # The facts have this reason's number and code, not its words.
    ExitReason.DESTROYED_ON_PAUSE_TIMEOUT: "VM destroyed on pause timeout",
}
_ERRORS = (ExitReason.DESTROYED_ON_PAUSE_TIMEOUT,)


def exit_code(ended_as: ExitReason) -> int:
    """Return the exit code of a VM that we ended for this reason: 0 normal, 1 error."""
    return int(ended_as in _ERRORS)


def judge_end(
    end: QemuExit, ended_as: Optional[ExitReason], is_shutdown_asked: bool
) -> tuple[int, ExitReason]:
    """Return exitCode and exitReason. `ended_as` is set when we ended QEMU ourselves.

    Without QMP's word for it an end is never taken for an orderly one: to call a crash a
    shutdown would keep the VM down. So is a guest that panics ("guest-panic"), about which the
    facts are silent.
    """
    if ended_as is not None:
        return exit_code(ended_as), ended_as
    if end.shutdown_reason in _REBOOTS and end.status in (0, None):
        # QEMU ends with a reset only where it was told so, by the definition or by the engine.
        return 0, ExitReason.DESTROYED_ON_REBOOT
    if end.shutdown_reason == "host-signal":
        return 1, ExitReason.HOST_SHUTDOWN
    if end.shutdown_reason == "guest-shutdown" and end.status in (0, None):
        return 0, ExitReason.ADMIN_SHUTDOWN if is_shutdown_asked else ExitReason.USER_SHUTDOWN
    return 1, ExitReason.LOST_QEMU_CONNECTION


def log_tail(vm_dir: Path) -> str:
    """Return QEMU's last words, warnings left out; "" when it said nothing."""
    try:
        with (vm_dir / LOG).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line for line in lines if line.strip() and "warning:" not in line]
    return "\n".join(said[-_LOG_TAIL_LINES:])

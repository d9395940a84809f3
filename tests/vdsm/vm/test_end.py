# SPDX-License-Identifier: Apache-2.0
"""Why a VM ended."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ha_agent.vdsm.qemu.process import QemuExit
from ha_agent.vdsm.vm.end import EXIT_MESSAGES, judge_end, log_tail
from ha_agent.vdsm.vm_status import ExitReason

GUEST = "guest-shutdown"


@pytest.mark.parametrize(
    ("status", "said", "ended_as", "asked", "code", "reason"),
    [
        (0, GUEST, None, False, 0, ExitReason.USER_SHUTDOWN),
        (0, GUEST, None, True, 0, ExitReason.ADMIN_SHUTDOWN),
        (None, GUEST, None, False, 0, ExitReason.USER_SHUTDOWN),
        (0, "host-signal", None, False, 1, ExitReason.HOST_SHUTDOWN),
        (0, "guest-panic", None, False, 1, ExitReason.LOST_QEMU_CONNECTION),
        (0, "", None, False, 1, ExitReason.LOST_QEMU_CONNECTION),
        (None, "", None, True, 1, ExitReason.LOST_QEMU_CONNECTION),
        (-9, GUEST, None, False, 1, ExitReason.LOST_QEMU_CONNECTION),
        (-9, "", ExitReason.ADMIN_SHUTDOWN, False, 0, ExitReason.ADMIN_SHUTDOWN),
        (-9, "", ExitReason.DESTROYED_ON_REBOOT, False, 0, ExitReason.DESTROYED_ON_REBOOT),
    ],
)
def test_judge_end(
    status: Optional[int],
    said: str,
    ended_as: Optional[ExitReason],
    asked: bool,
    code: int,
    reason: ExitReason,
) -> None:
    assert judge_end(QemuExit(status, said), ended_as, asked) == (code, reason)
    assert EXIT_MESSAGES[reason]


def test_the_last_words_without_warnings(tmp_path: Path) -> None:
    assert log_tail(tmp_path) == ""
    lines = ["x" * 5000, "", "qemu: warning: no such feature", "qemu: cannot", "Is another?"]
    (tmp_path / "qemu.log").write_text("\n".join(lines))
    assert log_tail(tmp_path).endswith("qemu: cannot\nIs another?")
    assert "warning" not in log_tail(tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""What the guard says: a line in fence.log, its standard error, and one in the journal.

The guard's first duty is the kill. So the journal is tried once for each line, without waiting,
and what it does not take is not kept: fence.log has it, and the broker tells of fence.result
anyway. No logging module, no thread, no lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Optional

from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.journal_messages import Message
from ha_agent.journal_socket import SOCKET_PATH, send_or_drop

_NAME = "ha-fence-guard"
_ERROR, _NOTICE = "3", "5"


def say(
    line: str,
    message: Optional[Message] = None,
    deadline: Optional[FenceDeadline] = None,
    *,
    journal: Path = SOCKET_PATH,
) -> None:
    """Say one line. Never raises for a full disk, never waits."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"ha-agent fence: {line}\n")
        sys.stderr.flush()
    # Of the broker, which started us: under systemd it is there.
    if "JOURNAL_STREAM" not in os.environ:
        return
    entry = {"MESSAGE": line, "PRIORITY": _NOTICE, "SYSLOG_IDENTIFIER": _NAME}
    if message is not None:
        entry.update(MESSAGE_ID=message.id, PRIORITY=_ERROR)
    if deadline is not None:
        entry.update(HA_VM_ID=deadline.vm_uuid, HA_EPOCH=str(deadline.epoch))
    send_or_drop(entry, journal)

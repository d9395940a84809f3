# SPDX-License-Identifier: Apache-2.0
"""What is done to the shared storage: it hangs, fails, fills up; for one host or for all."""

from __future__ import annotations

import errno
import time
from typing import Optional

from lab.budgets import Budget
from lab.case import Lab

# As long as a renewal may take, and a little: less than the lease stands.
BLINK_SECONDS = 5.0
ALL_SECONDS = 30.0
FULL_SECONDS = 20.0


def hang(lab: Lab, target: str) -> None:
    """The host's calls hang. Once its lease is over the file server takes its locks away, as NFSv4
    has it for a client that is long silent."""
    lab.cluster.storage.hang(target)
    time.sleep(lab.budgets.dead_seconds)
    lab.cluster.storage.drop_locks(target)


def mend_hung(lab: Lab, target: str) -> None:
    """It is back. What hung fails: a server takes no write from a client whose state it has given
    up (NFS4ERR_EXPIRED)."""
    lab.cluster.storage.mend(target, errno.EIO)


def blink(lab: Lab, target: str) -> None:
    """The host's calls hang for a moment, shorter than the lease, and are done then."""
    lab.cluster.storage.hang(target)
    time.sleep(BLINK_SECONDS)
    lab.cluster.storage.mend(target)


def hang_all(lab: Lab, _target: str) -> Optional[Budget]:
    """All hosts' calls hang for longer than the lease, and are done then."""
    seconds = max(ALL_SECONDS, lab.budgets.silent_seconds)
    for name in lab.cluster.hosts:
        lab.cluster.storage.hang(name)
    time.sleep(seconds)
    mend_all(lab, _target)
    return lab.budgets.fenced_until(seconds)


def gone(lab: Lab, target: str) -> None:
    """The host's calls fail at once, as after a cable was pulled and the client gave up."""
    lab.cluster.storage.fail(target, errno.EIO)
    time.sleep(lab.budgets.dead_seconds)
    lab.cluster.storage.drop_locks(target)


def gone_all(lab: Lab, _target: str) -> Optional[Budget]:
    """All hosts' calls fail for longer than the lease."""
    seconds = max(ALL_SECONDS, lab.budgets.silent_seconds)
    for name in lab.cluster.hosts:
        lab.cluster.storage.fail(name, errno.EIO)
    time.sleep(seconds)
    mend_all(lab, _target)
    return lab.budgets.fenced_until(seconds)


def mend(lab: Lab, target: str) -> None:
    """It is back."""
    lab.cluster.storage.mend(target)


def mend_all(lab: Lab, _target: str) -> None:
    """It is back for all."""
    for name in lab.cluster.hosts:
        lab.cluster.storage.mend(name)


def fill(lab: Lab, _target: str) -> None:
    """Not a byte is free for a new block for a while."""
    lab.cluster.storage.fill()
    time.sleep(FULL_SECONDS)


def empty(lab: Lab, _target: str) -> None:
    """There is room again."""
    lab.cluster.storage.empty()

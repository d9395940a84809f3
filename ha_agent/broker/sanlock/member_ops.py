# SPDX-License-Identifier: Apache-2.0
"""A lockspace from the outside: which host id this host's daemon has in it, and to leave it.

These functions run in a storage worker process. Set-up calls them; the broker never leaves a
lockspace (member.py). The binding and its faults are sanlock/ops.py's.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Callable

from ha_agent.broker.sanlock import ops
from ha_agent.errors import EnvironmentFault


def sanlock_own_id(lockspace: str, path: str) -> int:
    """Return the host id that this host's daemon has, or is about to have, in the lockspace; 0
    where it has none. Raises EnvironmentFault, also where the lockspace is another file's."""
    sanlock = ops.binding()
    with ops.faults(sanlock):
        lockspaces = sanlock.get_lockspaces()
    for one in lockspaces:
        if one["lockspace"] == lockspace.encode():
            if one["path"] != path:
                raise EnvironmentFault(
                    f"this host's daemon has the lockspace {lockspace} already, in {one['path']}"
                )
            return int(one["host_id"])
    return 0


def sanlock_leave(lockspace: str, host_id: int, path: str) -> None:
    """Have the daemon leave the lockspace: the host id is free when this returns.

    Harmless where it is not a member. The daemon ends every process of this host that still holds
    a lease there: whoever calls this knows that there is none. Raises EnvironmentFault.
    """
    sanlock = ops.binding()
    with ops.faults(sanlock, {errno.ENOENT}):
        if sanlock_own_id(lockspace, path) == host_id:
            sanlock.rem_lockspace(lockspace.encode(), host_id, path)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "sanlock_own_id": sanlock_own_id,
    "sanlock_leave": sanlock_leave,
}

# SPDX-License-Identifier: Apache-2.0
"""Whether the management bridge is up: one look at the kernel's own word.

It must not ask VDSM, which may hang while the bridge is well. The predecessor's monitor took
VDSM's `network[bridge].state`, which is the interface's operational state, and so does this:
"up", or "unknown" for a driver that does not tell. A bridge without a port that has a link is
"down", and one that was taken down, too. An address is not asked for, as it did not either: it
may be on another interface, and the network test sees what is out of reach.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

SYS_NET = Path("/sys/class/net")
_UP = ("up", "unknown")


@dataclass(frozen=True)
class BridgeState:
    """`detail` says what was seen."""

    up: bool
    detail: str


def look(name: str, sys_net: Path = SYS_NET) -> BridgeState:
    """Return the state of the interface `name`. Raises OSError when it can't be read."""
    try:
        word = (sys_net / name / "operstate").read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        # The kernel says EINVAL of an interface that goes while it is read.
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise
        return BridgeState(False, f"there is no interface {name}")
    if word in _UP:
        return BridgeState(True, f"{name} is up")
    return BridgeState(False, f"{name} is {word.replace('lowerlayerdown', 'without a link')}")

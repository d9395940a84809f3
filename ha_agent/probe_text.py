# SPDX-License-Identifier: Apache-2.0
"""What the broker's probes of this host found, as lines for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.snapshot import Snapshot
from ha_agent.maintenance_text import duration_text


@dataclass(frozen=True)
class ProbeLine:
    """One probe: its last samples, then what the newest found. `age_seconds` is the figure's,
    None where there is none."""

    name: str
    text: str
    age_seconds: Optional[float]


def probe_lines(snapshot: Snapshot) -> list[ProbeLine]:
    """Return a line for each probe of which something can be said."""
    found = _hypervisor(snapshot)
    for name, entry in (
        ("network", snapshot.network),
        ("management bridge", snapshot.bridge),
        ("CPU load", snapshot.cpu),
        ("memory", snapshot.memory),
        ("storage domain", snapshot.domain),
    ):
        newest = entry.detail
        if entry.lately:
            newest = f"{entry.lately}; the last one: {newest}" if newest else entry.lately
        if newest:
            taken_at = entry.taken_at
            age_seconds = None if taken_at is None else snapshot.made_at - taken_at
            found.append(ProbeLine(name, newest, age_seconds))
    return found


def _hypervisor(snapshot: Snapshot) -> list[ProbeLine]:
    """Since when VDSM, or libvirt, tells nothing of the VM, and what it told last; nothing while
    it tells."""
    agent, now = snapshot.agent, snapshot.made_at
    if agent.vdsm_silent_since is None:
        return []
    text = f"has not answered for {duration_text(now - agent.vdsm_silent_since)}; "
    if agent.vm_seen_at is None:
        text += "nothing was heard of the engine VM before"
    else:
        seen = duration_text(now - agent.vm_seen_at)
        text += f"the engine VM was last seen {seen} ago: {agent.vm_seen}"
    return [ProbeLine("VDSM or libvirt", text, None)]

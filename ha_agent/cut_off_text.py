# SPDX-License-Identifier: Apache-2.0
"""An owner without network, and what other hosts see of its engine, in words. Pure.

`status` and `explain` say the same, on every host: from the status blocks, and on the owner with
the time that its agent reckons.
"""

from __future__ import annotations

from collections.abc import Sequence

from ha_agent.broker.maintenance.order import is_live
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.maintenance_text import duration_text


def cut_off_lines(snapshot: Snapshot) -> list[str]:
    """Return a line for an owner that has lost its network; none while there is none."""
    live = [host for host in snapshot.hosts if is_live(host)]
    return [
        f"{owner.shown_name} has lost its network; {_seen(owner, live, snapshot)}"
        for owner in live
        if owner.network_lost and owner.engine_status.get("vm") == "up"
    ]


def _seen(owner: HostEntry, live: Sequence[HostEntry], snapshot: Snapshot) -> str:
    good = [host for host in live if host.engine_page == "good"]
    bad = [host for host in live if host.engine_page == "bad"]
    if good:
        return f"{_names(good)} can reach the engine, so it stays there"
    if not bad:
        return "no other host has said yet whether it can reach the engine"
    text = f"{_names(bad)} can't reach the engine"
    due = snapshot.agent.hand_over_at
    if owner.host_id == snapshot.host_id and due is not None:
        return f"{text}: handing over in {duration_text(due - snapshot.made_at)}"
    longest = max(host.page_bad_seconds for host in bad)
    return f"{text}, for {duration_text(longest)}"


def _names(hosts: Sequence[HostEntry]) -> str:
    return " and ".join(host.shown_name for host in hosts)

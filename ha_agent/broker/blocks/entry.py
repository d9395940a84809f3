# SPDX-License-Identifier: Apache-2.0
"""From a status block to what the picture says of its host. Pure.

Lines for people that this software reads, all of them written by it; missing or odd means
unknown, so that a block of any age and of the predecessor is read:

    agent             "ha-agent 1.2.3"; a host without it runs the predecessor's software
    state             the state machine's state (the predecessor writes it, too)
    memory_mib, cpu_threads     what the host has
    order             the order that was given on this host (maintenance/order.py)
    order_seen        number of the newest order in force that the host has taken notice of
    other_vms         how many VMs run there besides the engine VM
    proven            identity of the definition that the engine became healthy with there last
    refresh           when somebody on that host asked all hosts to read the definition anew
                      (push/refresh.py)
    incidents         what is wrong there, and what it told whom of (incidents/share.py)
    maintenance_note  who put it into local maintenance, since when, until when, why
    network           "lost" while its network tests fail
    engine_page       what it sees of the engine's page while the owner's network is lost: "good",
                      or "bad 45", without a break for so many seconds
    joined            a mark of the machine that joined with this block; no agent has written it
                      since (setup/join/host_id.py)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from ha_agent.broker.blocks.codec import StatusBlock
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.snapshot import HostEntry, Report
from ha_agent.instant import Instant
from ha_agent.values import replaced

AGENT = "ha-agent"
_LOST = "lost"
JOINED = "joined"
# What a peer says it has; nothing absurd is believed.
_COUNT = re.compile(r"0|[1-9][0-9]{0,15}")
_BAD_PAGE = re.compile(r"bad ([0-9]{1,9})")
_IDENTITY = re.compile(r"[0-9a-f]{12}")
_MOST = {"memory_mib": 9_999_999_999, "cpu_threads": 9_999_999_999, "other_vms": 999_999}


def host_entry(
    block: StatusBlock, *, changed_at: Optional[Instant], known: Optional[HostEntry]
) -> tuple[HostEntry, Optional[Order]]:
    """Return the host of this block, and the order that stands in it.

    What the block itself says is read once and kept with it. Whether the host lives is as it is
    in `known`, its entry until now: the monitor judges that.
    """
    read: Optional[tuple[HostEntry, Optional[Order]]] = block.kept.get(__name__)
    if read is None:
        read = block.kept[__name__] = _read(block)
    entry, order = read
    alive, fresh = (known.alive, known.fresh) if known is not None else (False, False)
    return replaced(entry, changed_at=changed_at, alive=alive, fresh=fresh), order


def _read(block: StatusBlock) -> tuple[HostEntry, Optional[Order]]:
    lines = block.lines
    status = block.engine_status
    ours = lines.get("agent", "").startswith(f"{AGENT} ")
    page, bad_seconds = _page(lines.get("engine_page", ""))
    entry = HostEntry(
        host_id=block.host_id,
        host_name=block.host_name,
        score=block.score,
        engine_status={_sendable(k): _sendable(str(v)) for k, v in status.items()}
        if isinstance(status, dict)
        else {},
        state=lines.get("state", ""),
        maintenance=bool(block.maintenance),
        stopped=bool(block.stopped),
        timestamp_seconds=block.timestamp_seconds,
        conf_on_shared_storage=bool(block.conf_on_shared_storage),
        local_conf_timestamp_seconds=block.local_conf_timestamp or 0,
        crc32=block.crc32 or "",
        extra=block.extra,
        memory_mib=_count(lines, "memory_mib") or None,
        cpu_threads=_count(lines, "cpu_threads") or None,
        predecessor=not ours,
        order_seen=_count(lines, "order_seen") or 0,
        other_vms=_count(lines, "other_vms"),
        proven=_identity(lines, "proven"),
        refresh_asked=_count(lines, "refresh") or 0,
        maintenance_note=lines.get("maintenance_note", ""),
        incidents=lines.get("incidents", ""),
        network_lost=lines.get("network", "") == _LOST,
        engine_page=page,
        page_bad_seconds=bad_seconds,
    )
    line = lines.get(orders.KEY, "")
    return entry, orders.decode(line, host_id=block.host_id, host_name=block.host_name)


def sight_lines(report: Report) -> dict[str, str]:
    """Return the lines of what this host's agent says of its network and of the engine's page."""
    lines = {"network": _LOST} if report.network_lost else {}
    page, since, made_at = report.engine_page, report.page_bad_since, report.made_at
    if page == "good":
        lines["engine_page"] = page
    elif page == "bad" and since is not None and made_at is not None:
        # As long as the agent knew it: its report may be some seconds old.
        lines["engine_page"] = f"{page} {max(0, int(made_at - since))}"
    return lines


def is_newly_joined(host: HostEntry) -> bool:
    """Whether a host has joined and no agent of it has written a block since."""
    return host.stopped and f"\n{JOINED}=" in f"\n{host.extra}"


def _count(lines: Mapping[str, str], key: str) -> Optional[int]:
    text = lines.get(key, "")
    if not _COUNT.fullmatch(text):
        return None
    value = int(text)
    return value if value <= _MOST.get(key, value) else None


def _page(text: str) -> tuple[str, int]:
    if text == "good":
        return text, 0
    bad = _BAD_PAGE.fullmatch(text)
    return ("bad", int(bad[1])) if bad else ("", 0)


def _identity(lines: Mapping[str, str], key: str) -> str:
    text = lines.get(key, "")
    return text if _IDENTITY.fullmatch(text) else ""


def _sendable(text: str) -> str:
    """A lone surrogate is sound JSON, but one in a picture that can't be sent blinds everybody."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

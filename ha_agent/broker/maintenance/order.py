# SPDX-License-Identifier: Apache-2.0
"""The cluster's order: who set global maintenance or ordered the shutdown, when, why, until when.

Slot 0 of the status volume can hold no more than "maintenance=1": the predecessor's parser
breaks on more. So the order stands in the status block of the host that it was given on, as a
line for people (blocks/codec.py), and is one register over all hosts:

    order={"number": 7, "what": "shutdown", "who": "root (uid 0)", "at": 1763812345, ...}

      number     highest seen + 1; the highest number of all blocks wins, of two equal ones the
                 lower host id
      what       maintenance | shutdown | none
      who        the user who asked
      at, until  seconds since the epoch by the setter's calendar, for people; no until: no end
      left       seconds that are left, as the setter counted them when it last wrote its block
      now        1: a shutdown that waits for nobody
      why        what the user said

    flag in slot 0   newest order             what counts
    off              any                      nothing: the flag is what predecessor hosts obey
    on               maintenance, shutdown    that order
    on               none, or no order        maintenance that a predecessor host has set

The order is written before the flag is set, and the flag is cleared before the order is taken
back: so a flag always has its reason, and an order that lost its flag is over.

Pure: texts and values; what it holds for is reckoned with seconds that the caller measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.snapshot import HostEntry, OrderEntry, Snapshot

KEY = "order"
MAINTENANCE, SHUTDOWN, NONE = "maintenance", "shutdown", "none"
MAX_REASON = 200
_MAX_WHO = 80
_MAX_LINE = 4096
# A block has 3584 bytes of lines, and one character of a reason may take 12 of them.
_WRITTEN_BYTES = 1500
MAX_NUMBER = (1 << 53) - 1
# The year 5138: the calendar of Python, and of others, ends at 9999.
_MAX_SECONDS = 1e11


@dataclass(frozen=True)
class Order:
    """One order, as the module says. `left_seconds` is None where it has no end."""

    number: int
    what: str
    who: str = ""
    host_id: int = 0
    host_name: str = ""
    at_unix_seconds: float = 0.0
    until_unix_seconds: Optional[float] = None
    left_seconds: Optional[float] = None
    reason: str = ""
    now: bool = False

    @property
    def wants_flag(self) -> bool:
        """Whether the flag in slot 0 belongs to it."""
        return self.what in (MAINTENANCE, SHUTDOWN)

    def entry(self, *, in_force: bool, remaining_seconds: Optional[float]) -> OrderEntry:
        """Return it as the picture has it."""
        return OrderEntry(
            number=self.number,
            what=self.what,
            who=self.who,
            host_id=self.host_id,
            host_name=self.host_name,
            at_unix_seconds=self.at_unix_seconds,
            until_unix_seconds=self.until_unix_seconds,
            remaining_seconds=remaining_seconds,
            reason=self.reason,
            now=self.now,
            in_force=in_force,
        )


def encode(order: Order, left_seconds: Optional[float]) -> str:
    """Return the line's value: JSON without '=' and line breaks; `left_seconds` as of now.

    A reason that is too long for the block is cut: a block that does not fit is not written.
    """
    reason = order.reason[:MAX_REASON]
    text = _encoded(order, reason, left_seconds)
    while reason and len(text) > _WRITTEN_BYTES:
        reason = reason[: -max(1, (len(text) - _WRITTEN_BYTES) // 12)]
        text = _encoded(order, reason, left_seconds)
    return text


def _encoded(order: Order, reason: str, left_seconds: Optional[float]) -> str:
    value: dict[str, Any] = {
        "number": order.number,
        "what": order.what,
        "who": order.who[:_MAX_WHO],
        "at": int(order.at_unix_seconds),
    }
    if order.until_unix_seconds is not None:
        value["until"] = int(order.until_unix_seconds)
    if left_seconds is not None:
        value["left"] = math.ceil(max(0.0, left_seconds))
    if order.now:
        value["now"] = 1
    if reason:
        value["why"] = reason
    # Inside a JSON string, where alone it can stand, this escape means the same.
    return json.dumps(value).replace("=", "\\u003d")


def decode(text: str, *, host_id: int, host_name: str) -> Optional[Order]:
    """Return the order in a host's line; None for a line that none can be read from.

    The lines for people have no CRC, so a torn one is that host's problem: it orders nothing.
    """
    if not text or len(text) > _MAX_LINE:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    number, what = value.get("number"), value.get("what")
    at = _seconds(value.get("at"))
    if isinstance(number, bool) or not isinstance(number, int) or at is None:
        return None
    if not 0 < number <= MAX_NUMBER or what not in (MAINTENANCE, SHUTDOWN, NONE):
        return None
    until, left = _seconds(value.get("until")), _seconds(value.get("left"))
    if until is None or left is None:
        # With one of them unreadable it has no end: longer in maintenance hurts less.
        until = left = None
    return Order(
        number=number,
        what=what,
        who=_text(value.get("who"), _MAX_WHO),
        host_id=host_id,
        host_name=host_name,
        at_unix_seconds=at,
        until_unix_seconds=until,
        left_seconds=left,
        reason=_text(value.get("why"), MAX_REASON),
        now=value.get("now") == 1,
    )


def _seconds(value: Any) -> Optional[float]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= _MAX_SECONDS else None


def _text(value: Any, limit: int) -> str:
    text = value if isinstance(value, str) else ""
    # A lone surrogate is sound JSON, but nothing that can be sent on.
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


def newest(orders: Iterable[Order]) -> Optional[Order]:
    """Return the order that counts."""
    return max(orders, key=lambda order: (order.number, -order.host_id), default=None)


def clearing_host(hosts: Sequence[HostEntry]) -> Optional[int]:
    """Return the id of the host that ends an order whose setter is not alive."""
    return min((h.host_id for h in hosts if is_live(h) and not h.predecessor), default=None)


def is_live(host: HostEntry) -> bool:
    """Whether the host's block is sound and has changed lately."""
    return host.alive and not host.problem


def shutdown_waits(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what an ordered shutdown waits for before the engine VM is stopped; () nothing.

    This host counts whether it lives or not: its broker takes notice only when it has watched
    for long enough to know who lives. A host that does not tell of its VMs is not waited for:
    without VDSM it can't, and whoever gave the order sees them in the engine.
    """
    order = snapshot.order
    if order is None or order.now:
        return ()
    live = [host for host in snapshot.hosts if is_live(host)]
    told = {h.host_id for h in snapshot.hosts if h.order_seen == order.number}
    untold = {
        host.host_id: host.host_name
        for host in live
        if host.host_id not in told and not host.predecessor and not host.stopped
    }
    if snapshot.host_id not in told:
        untold[snapshot.host_id] = snapshot.host_name
    waits = [f"{untold[number] or '?'} to take notice" for number in sorted(untold)]
    for host in live:
        if host.other_vms:
            noun = "VM" if host.other_vms == 1 else "VMs"
            waits.append(f"{host.other_vms} other {noun} on {host.host_name or '?'} to end")
    return tuple(waits)

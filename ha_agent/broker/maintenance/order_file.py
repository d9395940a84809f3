# SPDX-License-Identifier: Apache-2.0
"""The order that was given on this host, kept over restarts in `<state_dir>/order.json`.

    {"order": {"number": 7, ...}, "ends_boottime_seconds": 5042.5, "boot_id": "2f0c..."}

`order` is the line in our status block (order.py). On the same boot its end is a time of the
boot-time clock; after a reboot the calendar has to do, and it can't last longer than was asked.
Without an end the second is null. The file is local and is replaced in one piece.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime

FILE_NAME = "order.json"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class KeptOrder:
    """An order of ours, and when it ends by our clock; None: it has no end."""

    order: Order
    ends_at: Optional[Instant] = None


class OrderFile:
    """Keeps one order on the local disk."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        self._path = folder / FILE_NAME
        self._boot_id = boot_id

    def load(
        self, host_id: int, host_name: str, *, now: Instant, wall: WallTime
    ) -> Optional[KeptOrder]:
        """Return what was kept, None when nothing was. Blocks; for start-up.

        Raises EnvironmentFault when it can't be read, BadInput when it can't be used.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnvironmentFault(f"{self._path}: can't be read: {error.strerror}") from error
        try:
            value = json.loads(data)
            line = json.dumps(value["order"])
            ends, boot_id = value["ends_boottime_seconds"], value["boot_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadInput("is no order as ha-broker keeps it", where=str(self._path)) from None
        order = orders.decode(line, host_id=host_id, host_name=host_name)
        if order is None:
            raise BadInput("holds no order", where=str(self._path))
        if boot_id == self._boot_id and isinstance(ends, (int, float)):
            return KeptOrder(order, Instant(float(ends)))
        left_seconds = left_by_calendar(order, wall)
        return KeptOrder(order, None if left_seconds is None else now + left_seconds)

    async def save(self, kept: Optional[KeptOrder]) -> None:
        """Keep it; on the disk at return. None forgets. EnvironmentFault."""
        await asyncio.get_running_loop().run_in_executor(None, self._save, kept)

    def _save(self, kept: Optional[KeptOrder]) -> None:
        try:
            if kept is None:
                self._path.unlink(missing_ok=True)
                return
            order, ends_at = kept.order, kept.ends_at
            value = {
                "order": json.loads(orders.encode(order, order.left_seconds)),
                "ends_boottime_seconds": None if ends_at is None else ends_at.boottime_seconds,
                "boot_id": self._boot_id,
            }
            replace_file(self._path, f"{json.dumps(value, indent=1)}\n".encode())
        except OSError as error:
            raise EnvironmentFault(f"{self._path}: can't be written: {error.strerror}") from error


def left_by_calendar(order: Order, wall: WallTime) -> Optional[float]:
    """Return how long an order may still hold when only the calendar is left to tell; None: it
    has no end. Never longer than it was known to hold, wherever the calendar has jumped."""
    if order.left_seconds is None or order.until_unix_seconds is None:
        return None
    return min(order.left_seconds, max(0.0, order.until_unix_seconds - wall.unix_seconds))

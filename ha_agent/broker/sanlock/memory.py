# SPDX-License-Identifier: Apache-2.0
"""What a broker that starts anew knows of the sights of its daemon's renewals: one small file.

`<run_dir>/sanlock-distance` has the Distance (sanlock/judge.py) that was in force, a JSON object:

    {"boot_id": "...", "generation": 7, "distance": 1234.5}

It is replaced by rename when the distance changes, which is seldom. Without it, or with one of
another boot or generation, or that can't be read, the broker waits for the next renewal: up to
2 I/O timeouts, of which the deadline of the one before may leave less.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.broker.sanlock.judge import Distance, OwnRenewals
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

NAME = "sanlock-distance"


class DistanceFile:
    """Keeps the distance for the next broker on this boot."""

    def __init__(self, run_dir: Path, boot_id: str) -> None:
        self._path = run_dir / NAME
        self._boot_id = boot_id

    def load(self) -> Optional[Distance]:
        """Return what was kept on this boot, None when there is nothing to go by."""
        try:
            values = json.loads(self._path.read_bytes().decode())
            distance, generation = float(values["distance"]), int(values["generation"])
            if values["boot_id"] != self._boot_id or not math.isfinite(distance):
                return None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            log.warning("%s is not used: %r", self._path, error)
            return None
        return Distance(generation, Instant(distance))

    def keep(self, distance: Distance) -> None:
        """Keep it; what fails is said, and costs the next broker time only."""
        values = {
            "boot_id": self._boot_id,
            "generation": distance.generation,
            "distance": distance.distance.boottime_seconds,
        }
        try:
            replace_file(self._path, f"{json.dumps(values)}\n".encode(), mode=0o600, sync=False)
        except OSError as error:
            log.warning("%s can't be written: %s", self._path, error)


def own_renewals(run_dir: Path, boot_id: str) -> OwnRenewals:
    """Build what follows this host's renewals, also over a restart of the broker."""
    file = DistanceFile(run_dir, boot_id)
    return OwnRenewals(file.load(), file.keep)

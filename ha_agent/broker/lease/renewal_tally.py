# SPDX-License-Identifier: Apache-2.0
"""How the renewals of our lease went, counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass
class RenewalTally:
    """Renewals since the broker's start, and the time they took."""

    ok: int = 0
    failed: int = 0
    spent_seconds: float = 0.0
    last_seconds: Optional[float] = None

    def ended(self, seconds: float, renewed: bool) -> None:
        """Count one renewal that was tried."""
        self.last_seconds = seconds
        self.spent_seconds += seconds
        if renewed:
            self.ok += 1
        else:
            self.failed += 1

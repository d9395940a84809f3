# SPDX-License-Identifier: Apache-2.0
"""The times that the failures are measured against: the configuration's defaults. Pure.

A promise is a pair of seconds from the fault to the start of QEMU: not sooner than the first,
which safety sets, and not later than the second. Both follow from the lease's timeline
(broker/lease/rules.py) and the other limits of conf/ha-agent.conf, not from a measurement.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ha_agent.config.schema import EngineConfig, LeaseConfig, RestartConfig


def _default(section: Any, key: str) -> Any:
    (found,) = [one for one in dataclasses.fields(section) if one.name == key]
    return found.default


@dataclass(frozen=True)
class Times:
    """Seconds, by default those of a host that is configured with nothing but its paths."""

    expiry: float = _default(LeaseConfig, "lease_expiry_seconds")
    fence_margin: float = _default(LeaseConfig, "fence_margin_seconds")
    renew: float = _default(LeaseConfig, "renew_interval_seconds")
    step: float = _default(LeaseConfig, "takeover_step_seconds")
    page_interval: float = _default(EngineConfig, "health_interval_seconds")
    page_deadline: float = _default(EngineConfig, "health_deadline_seconds")
    grace: float = _default(EngineConfig, "bad_health_grace_seconds")
    stop: float = _default(EngineConfig, "stop_timeout_seconds")
    first_backoff: float = _default(RestartConfig, "backoff_seconds")[0]

    # What the failures themselves take.
    storage_hangs_seconds: float = 60.0
    lock_file_unreadable_seconds: float = 30.0

    @property
    def paused_seconds(self) -> float:
        """Longer than the lease, and shorter than systemd's watchdog, which would end it."""
        return 1.5 * self.expiry

    @property
    def untouched_seconds(self) -> float:
        """How long to look on where nothing shall happen: the lease's life and a start."""
        return self.expiry + 2 * self.fence_margin


TIMES = Times()

Promise = tuple[float, float]


def restart() -> Promise:
    """On the same host; within a second (bench/vm_crash.py)."""
    return TIMES.first_backoff, TIMES.first_backoff + 1.0


def takeover() -> Promise:
    """The lease runs out. The fault may fall right before the next renewal, or right after one."""
    return TIMES.expiry - TIMES.renew, TIMES.expiry + TIMES.step


def takeover_after(seconds: float) -> Promise:
    """As soon as something is back, or when the renewal that landed last has run out."""
    return seconds, seconds + TIMES.expiry + TIMES.step


def after_boot() -> Promise:
    """The dead owner comes back and finds its record, or somebody sees it run out."""
    return 0.0, TIMES.expiry + TIMES.step


def page_grace() -> Promise:
    """The grace, after the page's first bad answer; then an orderly stop, by force at its end."""
    seen = TIMES.page_interval + TIMES.page_deadline
    return TIMES.grace, TIMES.grace + seen + TIMES.stop + TIMES.step


def orderly_stop() -> Promise:
    """The guest shuts down, by force at the limit; the lease is given back, and free at once."""
    return 0.0, TIMES.stop + TIMES.step

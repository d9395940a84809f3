# SPDX-License-Identifier: Apache-2.0
"""Those of our settings that count beside the peers': the shipped defaults. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from ha_agent.config.schema import LeaseConfig, RestartConfig
from lab.peers.pacemaker_files import Setting

_SOURCE = "conf/ha-agent.conf, the default"


def our_settings() -> list[Setting]:
    """Return them with the values that a host has that was configured with nothing."""
    lease = [
        ("lease_expiry_seconds", "others may take a lease that was not renewed for so long"),
        ("renew_interval_seconds", "the owner renews it"),
        ("fence_margin_seconds", "the owner ends its VM so long before the lease is over"),
        ("takeover_step_seconds", "between the best host's turn and the next one's"),
    ]
    found = [
        Setting(f"[lease] {key}", f"{_default(LeaseConfig, key):g}: {why}", _SOURCE)
        for key, why in lease
    ]
    backoff = ", ".join(f"{seconds:g}" for seconds in _default(RestartConfig, "backoff_seconds"))
    pauses = f"{backoff}: before each restart within the window"
    return [*found, Setting("[restart] backoff_seconds", pauses, _SOURCE)]


def _default(section: Any, key: str) -> Any:
    (found,) = [one for one in dataclasses.fields(section) if one.name == key]
    return found.default

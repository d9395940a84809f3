# SPDX-License-Identifier: Apache-2.0
"""The client of this host's VDSM as the configuration wants it: agent and broker have one each."""

from __future__ import annotations

import random
import ssl
from typing import Callable

from ha_agent.clock import SystemClock
from ha_agent.config_schema import VdsmConfig
from ha_agent.vdsm.client import VdsmClient, vdsm_ssl_context


def vdsm_client(
    config: VdsmConfig, clock: SystemClock, on_connected: Callable[[], None]
) -> VdsmClient:
    """Return a client that is not started yet. Certificates are read at each connection."""

    def context() -> ssl.SSLContext:
        return vdsm_ssl_context(config.key_file, config.cert_file, config.ca_file)

    heart_beat_ms = round(config.heart_beat_interval_seconds * 1000)
    return VdsmClient(
        config.host,
        config.port,
        clock=clock,
        uniform=random.random,
        ssl_context=context if config.ssl else None,
        on_connected=on_connected,
        connect_deadline_seconds=config.connect_deadline_seconds,
        call_deadline_seconds=config.call_deadline_seconds,
        heart_beat_ms=(heart_beat_ms, heart_beat_ms),
    )

# SPDX-License-Identifier: Apache-2.0
"""The client of this host's VDSM as the configuration wants it: agent and broker have one each."""

from __future__ import annotations

import random
from typing import Callable, Optional

from ha_agent.certificates import TlsFiles
from ha_agent.clock import SystemClock
from ha_agent.config.schema import VdsmConfig
from ha_agent.vdsm.client.client import VdsmClient

# VDSM grants a client no delay at all, and a process that stands still for some seconds is no
# reason to lose a connection. So we promise a beat less often than we want one.
_PROMISED_INTERVALS = 3


def vdsm_client(
    config: VdsmConfig, clock: SystemClock, on_connected: Callable[[], None]
) -> VdsmClient:
    """Return a client that is not started yet. Certificates are read at each connection."""
    wanted_ms = round(config.heart_beat_interval_seconds * 1000)
    return VdsmClient(
        config.host,
        config.port,
        clock=clock,
        uniform=random.random,
        tls=tls_files(config),
        on_connected=on_connected,
        connect_deadline_seconds=config.connect_deadline_seconds,
        call_deadline_seconds=config.call_deadline_seconds,
        heart_beat_ms=(_PROMISED_INTERVALS * wanted_ms, wanted_ms),
    )


def tls_files(config: VdsmConfig) -> Optional[TlsFiles]:
    """Return the files of TLS to VDSM; None for a connection in clear."""
    if not config.ssl:
        return None
    return TlsFiles(config.key_file, config.cert_file, config.ca_file)

# SPDX-License-Identifier: Apache-2.0
"""A boot: the daemons come up in the wrong order, and the storage domain last of all."""

from __future__ import annotations

import pytest

from demo.hosts import Host
from tests.e2e.lone import IN_USE, says

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.timeout(180)]


def test_storage_that_is_mounted_late_is_taken_up_as_it_comes(host: Host) -> None:
    away = host.domain.path.with_name("away")
    host.domain.path.rename(away)
    host.start(["ha-agent"])
    host.start(["ha-broker"])
    says(host, "storage domain: VDSM at ", "can't be reached")
    host.start(["ha-vdsm"])
    says(host, "is not on this host", "status volume, last read never: not readable")
    assert host.dead_daemons() == []
    away.rename(host.domain.path)
    said = says(host, "Lease: held by host1", "(EngineStarting)", IN_USE)
    assert "can't be reached" not in said
    assert host.dead_daemons() == []

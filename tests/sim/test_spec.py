# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.sim.spec import Spec


def test_by_default_the_daemons_run_with_their_own_defaults() -> None:
    spec = Spec(seconds=60.0)
    assert spec.times.faults() == []
    assert not spec.faults
    assert not spec.old_hosts
    assert spec.vm_lease_expiry_seconds == 0.0

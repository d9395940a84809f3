# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest

from ha_agent.broker.other_vms import other_vms
from ha_agent.vdsm.errors import VdsmUnreachable
from ha_agent.vdsm.vm_status import VmStats, VmStatus

ENGINE = "engine"


@pytest.mark.parametrize(
    ("vms", "count"),
    [
        ((), 0),
        ((VmStats(ENGINE, VmStatus.UP),), 0),
        ((VmStats(ENGINE, VmStatus.UP), VmStats("a", VmStatus.UP)), 1),
        ((VmStats("a", VmStatus.DOWN), VmStats("b", VmStatus.PAUSED)), 1),
        # A word that we don't know may well be a VM that runs.
        ((VmStats("a", None, "Dreaming"), VmStats("b", VmStatus.MIGRATION_SOURCE)), 2),
    ],
)
async def test_what_runs_besides_the_engine_vm(vms: tuple[VmStats, ...], count: int) -> None:
    async def vm_list() -> tuple[VmStats, ...]:
        return vms

    assert await other_vms(vm_list, ENGINE) == count


async def test_a_silent_vdsm_is_unknown_not_none(caplog: pytest.LogCaptureFixture) -> None:
    async def vm_list() -> tuple[VmStats, ...]:
        raise VdsmUnreachable("h1:54321", "refused")

    with caplog.at_level(logging.INFO):
        assert await other_vms(vm_list, ENGINE) is None
    assert "refused" in caplog.text

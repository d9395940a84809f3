# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import psutil

from ha_agent.broker.probes import memory
from ha_agent.broker.probes.engine_process import EngineProcess, Use

_MIB = 1024 * 1024


class _Runs(EngineProcess):
    """The VM runs here and holds as much as this host has."""

    def __init__(self, held_bytes: int) -> None:
        super().__init__("")
        self.held_bytes = held_bytes

    def look(self) -> Use:
        return Use(4711, 5.0, 1.0, self.held_bytes)


def test_what_the_vm_holds_is_free_for_it() -> None:
    total_mib = psutil.virtual_memory().total // _MIB
    told = memory.look(_Runs(total_mib * _MIB))
    assert told.engine_mib == total_mib
    assert total_mib < told.free_mib < 2 * total_mib


def test_where_it_does_not_run_only_what_is_available_counts() -> None:
    told = memory.look(EngineProcess("11111111-2222-3333-4444-555555555555"))
    assert told.engine_mib == 0
    assert 0 < told.free_mib < psutil.virtual_memory().total // _MIB

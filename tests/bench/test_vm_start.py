# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bench.vm_start import STEPS, Start, rows, started
from ha_agent.instant import Instant
from ha_agent.vdsm.vm.start import StartTimes

LOG = """\
ha-vdsm: VM 1: started in 7.5 ms: definition 1.0, command 2.0, lease 0.5, spawn 3.0, qmp 1.0
ha-vdsm: VM 1: something else
ha-vdsm: VM 1: started in 1.0 ms: definition 1.0
"""


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        self.seconds += 0.25
        return Instant(self.seconds)


def test_each_start_of_a_log_is_read() -> None:
    first, second = started(LOG)
    assert first == pytest.approx(
        {"definition": 0.001, "command": 0.002, "lease": 0.0005, "spawn": 0.003, "qmp": 0.001}
    )
    assert second == {"definition": 0.001}


def test_what_vdsm_says_is_understood() -> None:
    times = StartTimes(Clock())
    for name in STEPS:
        times.step(name)
    (told,) = started(f"INFO VM x: {times.told()}\n")
    assert told == dict.fromkeys(STEPS, 0.25)


def test_the_process_is_there_after_the_spawn() -> None:
    starts = [Start(0.01, 0.2, dict.fromkeys(STEPS, 0.1))]
    by_name = {row.what: row for row in rows(starts)}
    assert by_name["VM.create -> QEMU's process"].samples == pytest.approx((0.4,))
    assert by_name["VM.create -> QEMU's process"].against_samples == pytest.approx((0.6,))
    assert by_name["VDSM's event -> VM.create at VDSM"].samples == (0.01,)

# SPDX-License-Identifier: Apache-2.0
"""Who goes on, and who is ended, after a pause by an I/O error."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ha_agent.vdsm.vm.pause import PauseTender, PauseTimes, can_be_used


class Paused:
    """A VM whose disk stays bad for the first `bad` attempts."""

    def __init__(self, behavior: str, *, is_well: bool, bad: int = 0, kill: float = 30.0) -> None:
        self.is_paused = True
        self.is_well = is_well
        self.bad = bad
        self.resumed = 0
        self.killed = asyncio.Event()
        self.tender = PauseTender(
            behavior,
            is_paused=lambda: self.is_paused,
            is_storage_well=self._look,
            resume=self._resume,
            kill=self._kill,
            times=PauseTimes(look_seconds=0.001, kill_seconds=kill),
        )

    async def _look(self) -> bool:
        return self.is_well

    async def _resume(self) -> None:
        self.resumed += 1
        self.is_paused = self.resumed <= self.bad

    async def _kill(self) -> None:
        self.is_paused = False
        self.killed.set()


async def test_it_is_tried_again_until_it_runs() -> None:
    for behavior in ("auto_resume", "kill", ""):
        vm = Paused(behavior, is_well=True, bad=2)
        await vm.tender.tend()
        assert vm.resumed == 3
        assert not vm.killed.is_set()


async def test_left_paused_is_left_alone() -> None:
    vm = Paused("leave_paused", is_well=True)
    await vm.tender.tend()
    assert vm.resumed == 0
    assert vm.is_paused


async def test_kill_kills_after_its_time_and_not_before_an_attempt_that_works() -> None:
    vm = Paused("kill", is_well=False, kill=0.02)
    await vm.tender.tend()
    assert vm.killed.is_set()
    assert vm.resumed == 0


async def test_a_disk_that_pauses_the_vm_again_does_not_put_the_end_off() -> None:
    vm = Paused("kill", is_well=True, bad=1000, kill=0.02)
    await vm.tender.tend()
    assert vm.killed.is_set()
    assert vm.resumed > 0


def test_a_disk_can_be_used_that_can_be_read(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(8192))
    assert can_be_used([str(disk)])
    assert not can_be_used([str(disk), str(tmp_path / "gone")])
    assert not can_be_used([str(tmp_path)])
    assert not can_be_used(["/dev/full/nothing"])

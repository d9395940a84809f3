# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from ha_agent.clock import SystemClock
from ha_agent.config.layers import load
from ha_agent.hypervisor import chosen
from ha_agent.vdsm_port import VdsmHypervisor
from ha_agent.virt_port import VirtHypervisor
from tests.small_config import NOWHERE, write_config
from tests.virt.private_libvirtd import needs_libvirtd


def nothing() -> None:
    pass


async def test_vdsm_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    made = chosen(load([write_config(tmp_path)], NOWHERE), SystemClock(), nothing)
    assert isinstance(made.port, VdsmHypervisor)
    assert len(made.follow) == 1
    assert made.name == "VDSM"


@needs_libvirtd
async def test_libvirt_with_its_own_times(tmp_path: Path) -> None:
    text = (
        "[host]\nhypervisor = libvirt\n[libvirt]\nuri = test:///default\n"
        "poll_interval_seconds = 3\ncall_deadline_seconds = 4\n"
    )
    made = chosen(load([write_config(tmp_path, text)], NOWHERE), SystemClock(), nothing)
    assert isinstance(made.port, VirtHypervisor)
    assert made.name == "libvirt"
    assert (made.poll_interval_seconds, made.look_deadline_seconds) == (3.0, 4.0)
    await made.close()

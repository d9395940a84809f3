# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ha_agent.clock import SystemClock
from ha_agent.config.layers import load
from ha_agent.errors import EnvironmentFault
from ha_agent.virt.from_config import virt
from tests.small_config import NOWHERE, write_config
from tests.virt.private_libvirtd import needs_libvirtd

CONFIG = "[libvirt]\nuri = test:///default\n"


@needs_libvirtd
async def test_it_is_made_from_its_section(tmp_path: Path) -> None:
    made = virt(load([write_config(tmp_path, CONFIG)], NOWHERE), SystemClock())
    assert made.link.uri == "test:///default"
    await made.close()


def test_a_host_without_the_binding_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(EnvironmentFault, match="python3-libvirt"):
        virt(load([write_config(tmp_path, CONFIG)], NOWHERE), SystemClock())

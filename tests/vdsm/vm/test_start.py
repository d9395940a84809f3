# SPDX-License-Identifier: Apache-2.0
"""What QEMU is started with, and starts that can't be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.vdsm.embedded import (
    Host,
    hosts,
    make_domain,
    make_xml,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]


async def test_a_missing_disk_is_an_ended_start(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    shutil.rmtree(domain / "images")
    (domain / "images").mkdir()
    async with hosts(Host(domain)) as [client]:
        await client.create(make_xml())
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (1, 1)
        assert "no image" in fields["exitMessage"]


async def test_an_unknown_device_is_refused_by_name(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml(devices="<hostdev mode='subsystem' type='pci'/>"))
        assert "<hostdev>" in (await client.event("Down"))["exitMessage"]

# SPDX-License-Identifier: Apache-2.0
"""A vm.conf with each kind of nonsense, and what a person may insist on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.store_world import (
    VM,
    Host,
)
from tests.setup.upgrade_hosts import of_35, refused
from tests.setup.upgrade_world import (
    ETC,
    put,
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("memSize=4096", "memSize=lots", "memSize"),
        ("memSize=4096\n", "", "memSize"),
        ("vmId=", "vmId=zz", "vmId"),
        (f"vmId={VM}", "vmId=ffffffff-0000-4000-8000-000000000000", "hosted-engine.conf has"),
        ("iface:virtio", "iface:teletype", "teletype"),
        ("device:disk", "device:floppy", "disk"),
        ("}\ndevices={device:scsi", "\ndevices={device:scsi", "line"),
        ("emulatedMachine=pc", "emulatedMachine=rhel6.5.0", "--accept unknown_machine_type"),
        ("memSize=4096", "memSize=9000000", "--accept memory_beyond_hosts"),
        ("volumeID:00000000", "volumeID:ffffffff", "is not on"),
    ],
)
async def test_nonsense_in_vm_conf(old: str, new: str, says: str, tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    text = (machine.root / ETC / "vm.conf").read_text()
    assert old in text
    put(machine.root, f"{ETC}/vm.conf", text.replace(old, new, 1))
    await refused(machine, says)


async def test_what_a_person_accepts_is_stored_with_the_approval(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    text = (machine.root / ETC / "vm.conf").read_text()
    put(machine.root, f"{ETC}/vm.conf", text.replace("=pc\n", "=rhel6.5.0\n"))
    machine.accepted = ("unknown_machine_type",)
    await machine.upgrade()
    copies = (await Host(machine.world).writer().verify()).copies
    assert all(b"unknown_machine_type" in (copy.approval or b"") for copy in copies)
    machine.accepted = ()
    assert await machine.upgrade() == ()


async def test_a_35_host_without_vm_conf(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    (machine.root / ETC / "vm.conf").unlink()
    await refused(machine, "there is no definition of the engine VM")

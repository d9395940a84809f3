# SPDX-License-Identifier: Apache-2.0
"""Places of disks, their I/O threads, and what is refused of them."""

from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from ha_agent.vdsm.qemu.placement import UnsupportedDevice
from tests.vdsm.command_line import build, device, values
from tests.vdsm.embedded import make_xml

SCSI = make_xml().replace("dev='vda' bus='virtio'", "dev='sda' bus='scsi'")
PLACED = SCSI.replace(
    "<boot order='1'/>",
    "<boot order='1'/><address type='drive' controller='1' bus='0' target='3' unit='5'/>",
)


def test_a_drive_keeps_its_place_and_its_controller_has_queues() -> None:
    threads = PLACED.replace("<devices>", "<iothreads>2</iothreads><devices>", 1)
    controller = (
        "<controller type='scsi' index='1' model='virtio-scsi'>"
        "<driver queues='4' iothread='2'/></controller>"
    )
    xml = threads.replace("</devices>", controller + "</devices>", 1)
    command = build(xml, disk_paths={"sda": "/d"})
    assert device(command, "virtio-scsi-pci").endswith("num_queues=4,iothread=iothread2,id=scsi1")
    assert device(command, "scsi-hd").startswith(
        "scsi-hd,bus=scsi1.0,channel=0,scsi-id=3,lun=5,id=sda"
    )
    assert values(command, "-object") == ["iothread,id=iothread1", "iothread,id=iothread2"]


def test_an_io_thread_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match="disk vda has I/O thread 1"):
        build(make_xml().replace("cache='none'", "cache='none' iothread='1'"))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("device='disk'", "device='lun'", "disk vda of kind 'lun'"),
        ("device='disk'", "device='floppy'", "disk vda of kind 'floppy'"),
        (
            "<source file=''/>",
            "<source file=''><reservations managed='yes'/></source>",
            "disk vda: SCSI reservations",
        ),
        ("dev='vda' bus='virtio'", "dev='fda' bus='fdc'", "disk fda on bus 'fdc'"),
        ("type='raw'", "type='vmdk'", "format 'vmdk'"),
    ],
)
def test_what_is_refused_has_its_name(old: str, new: str, named: str) -> None:
    with pytest.raises(UnsupportedDevice) as error:
        build(make_xml().replace(old, new), disk_paths={"vda": "/d", "fda": "/d"})
    assert named in str(error.value)


def test_an_optional_disc_that_is_gone_leaves_the_drive_empty() -> None:
    cdrom = (
        "<disk type='file' device='cdrom'><source file='/iso' startupPolicy='optional'/>"
        "<target dev='sdc' bus='sata'/></disk>"
    )
    command = build(make_xml(devices=cdrom), missing_disks=frozenset({"sdc"}))
    assert "drive=" not in device(command, "ide-cd")
    assert "disk sdc: /iso is not there, it stays empty" in command.notes

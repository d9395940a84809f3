# SPDX-License-Identifier: Apache-2.0
"""Hardware as the engine writes it: Files, Disks and Items."""

from __future__ import annotations

import dataclasses

from lxml import etree

from ha_agent.ovfstore.codes import BLANK_UUID, OVF_NAMESPACE, NicModel
from ha_agent.ovfstore.model import Device, Disk, LunConnection, Nic
from ha_agent.ovfstore.ovf_build_items import (
    device_item,
    disk_element,
    disk_items,
    file_element,
    nic_item,
)
from ha_agent.ovfstore.ovf_fields import local_name
from ha_agent.ovfstore.ovf_write import NAMESPACES

IMAGE = Disk("image", "leaf", parent_uuid="base", older_volumes=(Disk("image", "base"),))
LUN = Disk(
    "lun", lun_id="3600", connections=(LunConnection("192.0.2.1", "iqn.x", "3260", "ISCSI"),)
)


def root() -> etree._Element:
    return etree.Element("root", nsmap=NAMESPACES)


def texts(item: etree._Element) -> dict[str, str]:
    return {local_name(child): child.text or "" for child in item}


def attributes(element: etree._Element) -> dict[str, str]:
    return {etree.QName(str(name)).localname: str(text) for name, text in element.attrib.items()}


def test_an_images_places() -> None:
    parent = root()
    file_element(parent, IMAGE)
    disk_element(parent, IMAGE)
    file, disk = parent
    assert attributes(file)["href"] == attributes(disk)["fileRef"] == "image/leaf"
    assert attributes(file)["disk_storage_type"] == "IMAGE"
    assert attributes(disk)["parentRef"] == "image/base"
    assert attributes(disk)["format"].endswith("vmdk.html#sparse")
    assert all(str(name).startswith(f"{{{OVF_NAMESPACE}}}") for name in disk.attrib)


def test_a_chain_has_an_item_for_each_volume() -> None:
    parent = root()
    disk_items(parent, IMAGE)
    base, leaf = (texts(item) for item in parent)
    assert (base["InstanceId"], base["Parent"]) == ("base", BLANK_UUID)
    assert (leaf["InstanceId"], leaf["Parent"], leaf["HostResource"]) == (
        "leaf",
        "base",
        "image/leaf",
    )


def test_a_lun_has_no_item() -> None:
    parent = root()
    file_element(parent, LUN)
    disk_element(parent, LUN)
    disk_items(parent, LUN)
    file, disk = parent
    assert attributes(file) == {"id": "lun", "href": "lun", "disk_storage_type": "LUN"}
    assert attributes(disk)["lun_id"] == "3600"
    assert attributes(disk[0]) == {
        "connection": "192.0.2.1",
        "iqn": "iqn.x",
        "port": "3260",
        "storage_type": "ISCSI",
    }


def test_unread_attributes_win_over_fields() -> None:
    parent = root()
    disk_element(parent, dataclasses.replace(LUN, extra_attributes=(("disk-interface", "NVMe"),)))
    assert attributes(parent[0])["disk-interface"] == "NVMe"


def test_a_nic_without_network() -> None:
    parent = root()
    nic_item(parent, Nic("uuid", "nic1", NicModel.E1000E))
    found = texts(parent[0])
    assert found["Caption"] == "Ethernet adapter on [No Network]"
    assert (found["Connection"], found["MACAddress"], found["ResourceSubType"]) == ("", "", "6")
    assert "speed" not in found


def test_a_device_without_uuid_has_no_empty_one() -> None:
    parent = root()
    device_item(parent, Device("", 0, "rng", "virtio", custom_properties=(("a", "b"),)))
    found = texts(parent[0])
    assert "InstanceId" not in found
    assert found["CustomProperties"] == "a=b"

# SPDX-License-Identifier: Apache-2.0
"""The order of devices: buses first, then what has a place, then the rest."""

from __future__ import annotations

from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.domain.model import PciAddress
from ha_agent.vdsm.qemu.layout import Layout
from tests.vdsm.embedded import make_xml


def test_what_has_a_place_comes_first_and_its_bus_before_it() -> None:
    layout = Layout(parse_domain(make_xml()), is_q35=True)
    layout.place(["-device", "free"])
    layout.place(["-device", "behind"], PciAddress(5, 0, 0))
    layout.place(["-device", "fixed"], PciAddress(0, 3, 1, multifunction=True))
    layout.add_port(2, PciAddress(0, 2, 0))
    assert [value.split(",")[0] for value in layout.arguments()[1::2]] == [
        "pcie-root-port", "fixed", "pcie-root-port", "behind", "free",
    ]  # fmt: skip
    assert layout.arguments()[3] == "fixed,bus=pcie.0,addr=0x3.0x1,multifunction=on"


def test_a_pc_machine_has_one_bus() -> None:
    layout = Layout(parse_domain(make_xml()), is_q35=False)
    layout.place(["-device", "x"], PciAddress(5, 0, 0))
    layout.once("a", "y")
    layout.once("a", "y")
    assert layout.arguments() == ["-device", "x", "-device", "y,id=a"]
    assert layout.notes == ["PCI address on bus 5 of a pc machine is not kept"]


def test_boot_classes_count_once_and_an_order_of_its_own_goes_before() -> None:
    xml = make_xml().replace("hvm</type>", "hvm</type><boot dev='cdrom'/><boot dev='hd'/>")
    layout = Layout(parse_domain(xml), is_q35=False)
    assert layout.boot_index("disk", None) == ",bootindex=2"
    assert layout.boot_index("disk", None) == ""
    assert layout.boot_index("disk", 7) == ",bootindex=7"
    assert layout.boot_index("network", None) == ""

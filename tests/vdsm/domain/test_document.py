# SPDX-License-Identifier: Apache-2.0
"""Domain XML from outside: what is read, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.document import MAX_XML_BYTES, parse_domain
from ha_agent.vdsm.domain.model import PciAddress, VolumeIds
from tests.vdsm.embedded import BLANK, DOMAIN, IMAGE, VM, VOLUME, make_xml

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "ovf"


def test_the_parts_of_a_definition() -> None:
    domain = parse_domain(make_xml())
    assert (domain.uuid, domain.name, domain.memory_mib, domain.vcpus) == (VM, "engine", 32, 1)
    [disk] = domain.disks
    assert (disk.target, disk.bus, disk.cache, disk.boot_order) == ("vda", "virtio", "none", 1)
    assert disk.path is None
    assert disk.volume == VolumeIds(BLANK, DOMAIN, IMAGE, VOLUME)
    [lease] = domain.leases
    assert (lease.key, lease.lockspace) == (VOLUME, DOMAIN)
    assert not domain.launch_paused


def test_addresses_and_networks() -> None:
    domain = parse_domain(
        make_xml(
            devices="""<interface type='bridge'><model type='e1000e'/><source bridge='ovirtmgmt'/>
            <mac address='00:16:3E:00:00:01'/><link state='down'/>
            <address type='pci' bus='0x02' slot='0x00' function='0x1' multifunction='on'/>
            </interface>"""
        )
    )
    [nic] = domain.nics
    assert (nic.network, nic.mac, nic.link_up) == ("ovirtmgmt", "00:16:3e:00:00:01", False)
    assert nic.address == PciAddress(2, 0, 1, multifunction=True)


@pytest.mark.parametrize("spelling", ["<ovirt-vm:launchPaused>", "<launchPaused>"])
def test_launch_paused_with_and_without_namespace(spelling: str) -> None:
    flag = f"{spelling}true{spelling.replace('<', '</')}"
    assert parse_domain(make_xml(metadata=flag)).launch_paused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not XML"),
        ("<domain>", "not XML"),
        ("<vm/>", "not <domain>"),
        ("<domain/>", "no <devices>"),
        ("<!DOCTYPE d><domain/>", "DOCTYPE"),
        ("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain>&e;</domain>", "DOCTYPE"),
        ("<domain>" + " " * MAX_XML_BYTES + "</domain>", "longer than"),
        (make_xml().replace(VM, "../../etc"), "no UUID"),
        (make_xml().replace("32768", "lots"), "'lots' is no number"),
        (make_xml().replace("32768", "0"), "not within"),
        (make_xml().replace("dev='vda'", "dev='../x'"), "no device name"),
        (make_xml().replace("type='file' device", "type='network' device"), "not supported"),
        (make_xml(devices="<interface><mac address='x,y'/></interface>"), "malformed"),
        (make_xml(devices="<a/>" * 300), "more than 256 devices"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=r"^domain XML: ") as error:
        parse_domain(text)
    assert words in str(error.value)


@given(st.text(max_size=200), st.integers(0, len(make_xml())), st.integers(0, 50))
def test_garbage_is_bad_input_or_a_domain(garbage: str, start: int, cut: int) -> None:
    xml = make_xml()
    with contextlib.suppress(BadInput):
        parse_domain(xml[:start] + garbage + xml[start + cut :])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples here")
def test_the_engines_own_documents() -> None:
    seen = 0
    for path in SAMPLES.glob("*.ovf"):
        text = etree.parse(str(path)).findtext(".//EngineXml")
        if text:
            domain = parse_domain(text.strip())
            assert domain.disks
            assert domain.memory_mib >= 1024
            seen += 1
    assert seen > 3

# SPDX-License-Identifier: Apache-2.0
"""NICs of a built domain."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.ovfstore.codes import NicModel
from tests.ovfstore.built_domain import VM, attribute, built, notes
from tests.ovfstore.vm_variants import nic, small


def test_the_samples_nics() -> None:
    """e1000e, number 6, ended the predecessor's agent on every host."""
    first, second = built().findall("devices/interface")
    assert attribute(first, "model", "type") == "e1000e"
    assert attribute(first, "source", "bridge") == "ovirtmgmt"
    assert attribute(first, "mac", "address") == "52:54:00:00:00:01"
    assert attribute(first, "link", "state") == "up"
    # A NIC without MAC address was left out by the predecessor.
    assert second.find("mac") is None
    assert "NIC nic2 has no MAC address" in notes(VM)


def test_a_nic_without_network_is_on_vdsms_bridge_for_that() -> None:
    vm = small(nics=(nic(1, network=None),))
    root = built(vm)
    assert attribute(root, "devices/interface/source", "bridge") == ";vdsmdummy;"
    assert attribute(root, "devices/interface/link", "state") == "down"


@pytest.mark.parametrize("network", ["two words", "it's", "n#1", "a" * 16, "netz-ä"])
def test_a_network_that_no_bridge_can_be_named_after(network: str) -> None:
    vm = small(nics=(nic(1, network=network),))
    root = built(vm)
    assert attribute(root, "devices/interface/source", "bridge") == ";vdsmdummy;"
    assert attribute(root, "devices/interface/link", "state") == "down"
    assert f"NIC nic1 has its link down: network {network!r}" in notes(vm)


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (NicModel.RTL8139_PV, "virtio"),
        (NicModel.RTL8139, "rtl8139"),
        (NicModel.E1000, "e1000"),
        (NicModel.PV, "virtio"),
        (NicModel.SPAPR_VLAN, "virtio"),
        (NicModel.PCI_PASSTHROUGH, "virtio"),
        (NicModel.E1000E, "e1000e"),
    ],
)
def test_models(model: NicModel, written: str) -> None:
    vm = small(nics=(nic(1, model=model),))
    assert attribute(built(vm), "devices/interface/model", "type") == written
    stand_ins = (NicModel.SPAPR_VLAN, NicModel.PCI_PASSTHROUGH)
    assert ("NIC nic1 is a virtio NIC" in notes(vm)) == (model in stand_ins)


def test_a_passed_through_nic_is_on_the_same_network() -> None:
    vm = small(nics=(nic(1, device="hostdev", model=NicModel.PV),))
    root = built(vm)
    assert attribute(root, "devices/interface", "type") == "bridge"
    assert attribute(root, "devices/interface/source", "bridge") == "ovirtmgmt"
    assert "not a passed-through device of one host" in notes(vm)


def test_queues() -> None:
    vm = small(nics=(nic(1), nic(2, model=NicModel.E1000E)), has_multi_queues=True)
    first, second = built(vm).findall("devices/interface")
    assert attribute(first, "driver", "queues") == "2"
    assert second.find("driver") is None
    assert built(dataclasses.replace(vm, sockets=1)).find("devices/interface/driver") is None
    many = built(dataclasses.replace(vm, sockets=8, max_vcpus=8))
    assert attribute(many, "devices/interface/driver", "queues") == "4"
    assert built(small()).find("devices/interface/driver") is None


def test_links_plugs_and_addresses() -> None:
    vm = small(
        nics=(nic(1, is_linked=False), nic(2, is_plugged=False), nic(3, mac="01:00:5e:0:0:1"))
    )
    first, third = built(vm).findall("devices/interface")
    assert attribute(first, "link", "state") == "down"
    assert attribute(third, "link", "state") == "up"
    assert third.find("mac") is None
    assert "'01:00:5e:0:0:1' is none" in notes(vm)

# SPDX-License-Identifier: Apache-2.0
"""The `<interface>` elements of a built domain.

The OVF has a network's name; VDSM makes a bridge of that name, or of another one when the name is
too long or has characters that a bridge can't have, and only the engine knows that one. Such a
NIC, like one without network, is on VDSM's own bridge for that with its link down, so that the VM
starts. The name of that bridge, `;vdsmdummy;`, is not one that libvirt's schema allows; libvirt
takes it, and the engine writes it, so it is kept.
"""

from __future__ import annotations

import re

from lxml import etree

from ha_agent.ovfstore.codes import DUMMY_BRIDGE, NicModel
from ha_agent.ovfstore.domain_parts import Plan, add
from ha_agent.ovfstore.model import Nic

# 15 characters at most (Linux: IFNAMSIZ); the engine keeps to these (engine: VdsmNameUtils).
_BRIDGE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.ASCII)
# As many queues as virtual CPUs, but no more (engine: MultiQueueUtils).
_MOST_QUEUES = 4


def bridge_of(nic: Nic) -> str:
    """Return the bridge of the NIC's network, or "" when there is none that is known here."""
    return nic.network if nic.network and _BRIDGE.fullmatch(nic.network) else ""


def put_nics(plan: Plan, devices: etree._Element) -> None:
    """Write the VM's plugged NICs, in the order of the OVF."""
    for nic in plan.vm.nics:
        if nic.is_plugged:
            _put(plan, devices, nic)


def _put(plan: Plan, devices: etree._Element, nic: Nic) -> None:
    interface = add(devices, "interface", type="bridge")
    mac = (nic.mac or "").lower()
    if _MAC.fullmatch(mac):
        add(interface, "mac", address=mac)
    else:
        shown = f", {nic.mac!r} is none" if nic.mac else ""
        plan.note(
            f"NIC {nic.name} has no MAC address in the OVF{shown}: libvirt makes one at each start"
        )
    add(interface, "model", type=_model(plan, nic))
    bridge = bridge_of(nic)
    if nic.network and not bridge:
        plan.note(
            f"NIC {nic.name} has its link down: network {nic.network!r} can't be the name of a"
            " bridge, and VDSM's name for it is not in the OVF"
        )
    add(interface, "source", bridge=bridge or DUMMY_BRIDGE)
    queues = min(plan.vm.vcpus, _MOST_QUEUES)
    if plan.vm.has_multi_queues and nic.model is NicModel.PV and queues > 1:
        add(interface, "driver", name="vhost", queues=str(queues))
    add(interface, "link", state="up" if nic.is_linked and bridge else "down")
    plan.put_boot(interface, nic)
    plan.put_alias(interface, nic.device_uuid)
    plan.addresses.put_pci(interface, nic.address, f"NIC {nic.name}")


def _model(plan: Plan, nic: Nic) -> str:
    if nic.model is NicModel.PCI_PASSTHROUGH or nic.device == "hostdev":
        # The engine chooses a virtual function of the host for each start; nothing here can.
        plan.note(f"NIC {nic.name} is a virtio NIC, not a passed-through device of one host")
        return "virtio"
    if nic.model is NicModel.SPAPR_VLAN:
        plan.note(f"NIC {nic.name} is a virtio NIC: spaprVlan is of another architecture")
        return "virtio"
    return nic.model.libvirt_model

# SPDX-License-Identifier: Apache-2.0
"""The `<controller>` elements of a built domain, each index given once.

libvirt adds what a device needs and the OVF does not have, so a controller that can't be written
is left out. What it would add for SCSI is not always a virtio one, so that is never left to it.
"""

from __future__ import annotations

from typing import Optional

from lxml import etree

from ha_agent.ovfstore.domain_parts import Plan, add, whole_number
from ha_agent.ovfstore.model import Device, VmDefinition

# Kinds, with the models that libvirt and QEMU have on x86; "" is the controller without a model.
_MODELS = {
    "usb": (
        "", "piix3-uhci", "piix4-uhci", "ehci", "ich9-ehci1", "ich9-uhci1", "ich9-uhci2",
        "ich9-uhci3", "nec-xhci", "qemu-xhci", "none",
    ),
    "pci": (
        "pci-root", "pcie-root", "pcie-root-port", "pci-bridge", "dmi-to-pci-bridge",
        "pcie-to-pci-bridge",
    ),
    "ide": ("", "piix3", "piix4"),
    "sata": ("",),
    "virtio-serial": ("",),
}  # fmt: skip
# Those of one USB 2.0 controller share its index.
_COMPANION = "ich9-"
_MASTER = "ich9-ehci1"
_ROOTS = ("pci-root", "pcie-root")
_BRIDGES = ("pci-bridge", "dmi-to-pci-bridge", "pcie-to-pci-bridge")
# Conventional bridges are of pc machines; the rest of the PCI controllers of q35 ones.
_PC_PCI_MODELS = ("pci-root", "pci-bridge")
_VIRTIO_SERIAL_PORTS = "16"
_XHCI_PORTS = "8"
_MOST_CONTROLLERS = 255
_MOST_QUEUES_BY_ITSELF = 4


def has_usb(vm: VmDefinition) -> bool:
    """Tell whether the VM may have USB devices: `none` is the engine's model for "without"."""
    return not any(
        item.device == "usb" and item.spec("model") == "none" for item in vm.controllers
    )


def put_controllers(plan: Plan, devices: etree._Element) -> None:
    """Write the VM's controllers, the SCSI ones with as many queues as the OVF wants."""
    used: set[tuple[str, int]] = set()
    for device in sorted(plan.vm.controllers, key=_rank):
        if device.device in ("virtio-scsi", "scsi"):
            continue
        fault = _fault(plan, device)
        if fault:
            plan.note(f"the {device.device or 'nameless'} controller is left out: {fault}")
            continue
        _put(plan, devices, device, used)
    for index, scsi in plan.scsi_controllers.items():
        on_it = [
            placed
            for placed in plan.disks
            if placed.bus == "scsi" and placed.drive_address.get("controller") == str(index)
        ]
        if scsi is not None or on_it:
            _put_scsi(plan, devices, index, scsi, len(on_it))


def put_missing_ports(plan: Plan, devices: etree._Element) -> None:
    """Write the root ports that devices are behind and the OVF lacks; to be called at last.

    libvirt would add a bus of that number, but not always a root port.
    """
    for index in plan.addresses.missing_ports:
        add(devices, "controller", type="pci", index=str(index), model="pcie-root-port")


def _rank(device: Device) -> tuple[bool, int]:
    """Order buses first and by number: an address can be kept only where there is one."""
    return device.device != "pci", whole_number(device.spec("index"), 0, _MOST_CONTROLLERS) or 0


def _fault(plan: Plan, device: Device) -> Optional[str]:
    kind, model = device.device, device.spec("model") or ""
    if kind not in _MODELS:
        return "no such kind"
    if model not in _MODELS[kind]:
        return f"no such model, {model!r}"
    if kind == "ide" and plan.is_q35:
        return "a q35 machine has no IDE"
    if kind == "usb" and model != "none" and not has_usb(plan.vm):
        return "the VM is without USB"
    if kind == "usb" and model.startswith(_COMPANION) and model != _MASTER:
        same = (_MASTER, device.spec("index"))
        if same not in [(item.spec("model"), item.spec("index")) for item in plan.vm.controllers]:
            return f"it is a companion of {_MASTER}, which is not there"
    if kind == "pci" and (model in _PC_PCI_MODELS) == plan.is_q35:
        return f"{model} is not of this machine"
    return None


def _put(plan: Plan, devices: etree._Element, device: Device, used: set[tuple[str, int]]) -> None:
    kind, model = device.device, device.spec("model") or ""
    index = _index(device, model, used)
    what = f"the {kind} controller {index}"
    is_companion = model.startswith(_COMPANION) and model != _MASTER
    if ((kind, index) in used and not is_companion) or (kind == "ide" and index):
        plan.note(f"{what} is left out: there can be one")
        return
    element = add(devices, "controller", type=kind, index=str(index))
    if model:
        element.set("model", model)
    if kind == "virtio-serial":
        ports = whole_number(device.spec("ports"), 1, 31)
        element.set("ports", _VIRTIO_SERIAL_PORTS if ports is None else str(ports))
    elif model == "qemu-xhci":
        element.set("ports", _XHCI_PORTS)
    if model != "none":
        plan.put_alias(element, "" if model in _ROOTS else device.device_uuid)
    if model not in (*_ROOTS, "none"):
        is_own = index == 0 and (kind != "usb" or model in ("", "piix3-uhci"))
        has_address = plan.addresses.put_pci(
            element,
            device.address,
            what,
            built_in=kind if is_own else "",
            buses=_buses(model, index),
        )
        if model in _BRIDGES and not has_address:
            # libvirt can't always find a place for one, but adds one when a device needs it.
            devices.remove(element)
            plan.note(f"{what}, a {model}, is left to libvirt")
            return
    used.add((kind, index))
    if kind == "pci" and model not in _ROOTS:
        plan.addresses.add_bus(index, is_root_port=model == "pcie-root-port")


def _buses(model: str, index: int) -> range:
    """Return the buses that a controller may be on: libvirt puts each kind of bridge in its place.

    A pcie-to-pci-bridge is behind a root port, whose number is lower; the others are on bus 0.
    """
    if model == "pcie-to-pci-bridge":
        return range(1, index)
    return range(1) if model in (*_BRIDGES, "pcie-root-port") else range(256)


def _index(device: Device, model: str, used: set[tuple[str, int]]) -> int:
    """Return the OVF's index, or the next free one; 0 is the root's among the PCI ones."""
    if model in _ROOTS or model == "none":
        return 0
    index = whole_number(device.spec("index"), 0, _MOST_CONTROLLERS)
    lowest = 1 if device.device == "pci" else 0
    if index is not None and index >= lowest:
        return index
    taken = [number for kind, number in used if kind == device.device]
    return max(taken, default=lowest - 1) + 1


def _put_scsi(
    plan: Plan, devices: etree._Element, index: int, device: Optional[Device], disks: int
) -> None:
    vm = plan.vm
    element = add(devices, "controller", type="scsi", index=str(index), model="virtio-scsi")
    queues = vm.virtio_scsi_queues
    if queues < 0:
        # By itself the engine takes one for each disk, four at most (engine: MultiQueueUtils).
        queues = min(disks, vm.vcpus, _MOST_QUEUES_BY_ITSELF)
    io_thread = (
        None if device is None else whole_number(device.spec("ioThreadId"), 1, vm.io_threads)
    )
    attributes = {}
    if queues > 0:
        attributes["queues"] = str(queues)
    if io_thread is not None:
        attributes["iothread"] = str(io_thread)
    if attributes:
        add(element, "driver", **attributes)
    if device is not None:
        plan.put_alias(element, device.device_uuid)
        plan.addresses.put_pci(element, device.address, f"the scsi controller {index}")

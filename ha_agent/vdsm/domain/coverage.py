# SPDX-License-Identifier: Apache-2.0
"""Which parts of a domain document QEMU gets, and which are not for QEMU, with the reason.

A path names elements, and an attribute behind "@"; <address> and <alias> are the same in every
device and stand as `address` and `alias`. What is in neither table is told as a note of the
command, so nothing of a definition is lost without a word. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

_LIBVIRT = "libvirt's own business"
_HERE = "the file or socket is in the VM's run directory here"
_VDSM = "what VDSM makes of it is VDSM's"

# Read by document.py, used by qemu/arguments.py, vm/start.py and the rest of the embedded VDSM.
USED = frozenset(
    [
        "name",
        "uuid",
        "memory",
        "currentMemory",
        "maxMemory@slots",
        "maxMemory",
        "iothreads",
        "vcpu",
        "vcpu@current",
        "memory@unit",
        "currentMemory@unit",
        "maxMemory@unit",
        "memoryBacking/hugepages/page@size",
        "cpu@mode",
        "cpu/model",
        "cpu/topology@sockets",
        "cpu/topology@cores",
        "cpu/topology@threads",
        "cpu/feature@name",
        "cpu/feature@policy",
        "cpu/numa/cell@id",
        "cpu/numa/cell@cpus",
        "cpu/numa/cell@memory",
        "cpu/numa/cell@memAccess",
        "cpu/numa/cell@unit",
        "cputune/vcpupin@vcpu",
        "cputune/vcpupin@cpuset",
        "sysinfo/system/entry@name",
        "sysinfo/system/entry",
        "os/smbios@mode",
        "clock@adjustment",
        "clock/timer@name",
        "clock/timer@tickpolicy",
        "clock/timer@present",
        "features/acpi",
        "features/smm@state",
        "pm/suspend-to-disk@enabled",
        "pm/suspend-to-mem@enabled",
        "os/type@arch",
        "os/type@machine",
        "os/loader",
        "os/loader@secure",
        "os/nvram@template",
        "os/boot@dev",
        "os/kernel",
        "os/initrd",
        "os/cmdline",
        "os/bootmenu@enable",
        "os/bootmenu@timeout",
        "os/bios@useserial",
        "address@type",
        "address@bus",
        "address@slot",
        "address@function",
        "address@multifunction",
        "address@controller",
        "address@target",
        "address@unit",
        "devices/disk@type",
        "devices/disk@device",
        "devices/disk/driver@type",
        "devices/disk/driver@cache",
        "devices/disk/driver@io",
        "devices/disk/driver@error_policy",
        "devices/disk/driver@discard",
        "devices/disk/driver@iothread",
        "devices/disk/source@file",
        "devices/disk/source@dev",
        "devices/disk/source@startupPolicy",
        "devices/disk/target@dev",
        "devices/disk/target@bus",
        "devices/disk/readonly",
        "devices/disk/shareable",
        "devices/disk/boot@order",
        "devices/disk/serial",
        "devices/interface/mac@address",
        "devices/interface/model@type",
        "devices/interface/source@bridge",
        "devices/interface/source@network",
        "devices/interface/driver@queues",
        "devices/interface/link@state",
        "devices/interface/boot@order",
        "devices/controller@type",
        "devices/controller@index",
        "devices/controller@model",
        "devices/controller@ports",
        "devices/controller/driver@queues",
        "devices/controller/driver@iothread",
        "devices/graphics@type",
        "devices/graphics@passwd",
        "devices/graphics@passwdValidTo",
        "devices/video/model@type",
        "devices/video/model@vram",
        "devices/rng@model",
        "devices/rng/rate@bytes",
        "devices/rng/rate@period",
        "devices/rng/backend",
        "devices/memballoon@model",
        "devices/watchdog@model",
        "devices/watchdog@action",
        "devices/sound@model",
        "devices/tpm@model",
        "devices/tpm/backend@type",
        "devices/tpm/backend@version",
        "devices/input@type",
        "devices/input@bus",
        "devices/panic@model",
        "devices/channel/target@type",
        "devices/channel/target@name",
        "devices/console/target@type",
        "devices/serial/target@type",
        "devices/lease/key",
        "devices/lease/lockspace",
        "devices/lease/target@path",
        "devices/lease/target@offset",
    ]
)

NOT_FOR_QEMU: Mapping[str, str] = {
    "@type": "the accelerator is this host's: KVM where it works",
    "os/type": "hvm is all that there is",
    "os/loader@readonly": "the firmware's code is always read only",
    "os/loader@type": "pflash is what UEFI firmware is",
    "os/nvram": _HERE,
    "clock@offset": "only `variable` is written; its adjustment counts",
    "cpu@match": "the model is taken as it is",
    "sysinfo@type": "smbios is all that there is",
    "on_poweroff": "QEMU ends with the guest's power off, as VDSM wants it",
    "on_reboot": "VDSM takes it out, too: a reboot is destroy_on_reboot's",
    "on_crash": "a panic ends the VM, as libvirt's default does",
    "description": "for people",
    "address@domain": "there is one PCI domain",
    "alias@name": _LIBVIRT,
    "devices/emulator": "QEMU is this host's",
    "devices/disk@snapshot": _LIBVIRT,
    "devices/disk/source/reservations@managed": "only a `lun` has them, which is refused",
    "cputune": "an empty one",
    "devices/disk/driver@name": "qemu is all that there is",
    "devices/disk/source/seclabel@model": "who may open a file is the mount's affair here",
    "devices/disk/source/seclabel@relabel": "nothing is relabelled here",
    "devices/interface@type": "what a network is on this host, its configuration says",
    "devices/interface/driver@name": "vhost is a kind of tap, which the network's value may name",
    "devices/graphics@port": _HERE,
    "devices/graphics@autoport": _HERE,
    "devices/graphics@tlsPort": _HERE,
    "devices/graphics@keymap": "for clients without the extended key event",
    "devices/graphics/listen@type": _HERE,
    "devices/graphics/listen@network": _HERE,
    "devices/video/model@heads": "one is all that VGA has",
    "devices/memballoon/stats@period": "asked for over QMP by VDSM; nobody reads them here",
    "devices/rng/backend@model": "random is all that is written",
    "devices/channel@type": _HERE,
    "devices/channel/source@mode": _HERE,
    "devices/channel/source@path": _HERE,
    "devices/console@type": _HERE,
    "devices/console/source@mode": _HERE,
    "devices/console/source@path": _HERE,
    "devices/console/target@port": "there is one",
    "devices/serial@type": _HERE,
    "devices/serial/target@port": "there is one",
    "metadata": _VDSM,
}


def paths(root: etree._Element) -> Iterator[tuple[str, etree._Element, str]]:
    """Yield (path, element, attribute) of what says something: attributes, texts, bare flags.

    A text and a bare flag have "" for their attribute.
    """
    for element in root.iter(etree.Element):
        steps = [element.tag, *(item.tag for item in element.iterancestors())][:-1]
        if "metadata" in steps:
            continue
        if steps and steps[0] in ("address", "alias") and "devices" in steps:
            steps = steps[:1]
        path = "/".join(str(step) for step in reversed(steps))
        if (element.text or "").strip() or not (len(element) or element.attrib):
            yield path, element, ""
        for label in map(str, element.attrib):
            yield f"{path}@{label}", element, label


def unknown(root: etree._Element) -> tuple[str, ...]:
    """Return the paths in neither table, each once."""
    found = {path for path, _, _ in paths(root)} - USED - set(NOT_FOR_QEMU)
    return tuple(sorted(path for path in found if path))

# SPDX-License-Identifier: Apache-2.0
"""The devices of a built domain: each kind as VDSM and libvirt want it."""

from __future__ import annotations

import dataclasses

from ha_agent.ovfstore.codes import DisplayType
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.model import Device
from tests.ovfstore.built_domain import DOMAIN, VM, attribute, built, notes, without
from tests.ovfstore.vm_variants import VARIANTS, VGA, VNC, device, nic, small, small_pc


def test_the_lease_is_the_boot_disks_volume() -> None:
    root = built()
    (lease,) = root.findall("devices/lease")
    volume = "d2000000-0000-4000-8000-00000000000b"
    assert (lease.findtext("key"), lease.findtext("lockspace")) == (volume, DOMAIN)
    assert attribute(lease, "target", "path") == f"LEASE-PATH:{volume}:{DOMAIN}"
    assert attribute(lease, "target", "offset") == f"LEASE-OFFSET:{volume}:{DOMAIN}"


def test_the_vms_own_lease_is_not_known_here() -> None:
    vm = small(lease_domain_uuid=DOMAIN)
    assert len(built(vm).findall("devices/lease")) == 1
    assert "the VM's own lease is left out" in notes(vm)


def test_graphics_is_vnc_with_a_validity_and_video() -> None:
    root = built()
    (graphics,) = root.findall("devices/graphics")
    assert (graphics.get("type"), graphics.get("passwd")) == ("vnc", "*****")
    assert graphics.get("passwdValidTo") == "1970-01-01T00:00:01"
    assert attribute(graphics, "listen", "network") == "vdsm-ovirtmgmt"
    assert attribute(root, "devices/video/model", "type") == "vga"
    assert attribute(root, "devices/video/model", "vram") == "16384"


def test_the_network_of_the_console() -> None:
    def network(vm: object, display: object = None) -> str:
        xml, _ = build_domain_xml(vm, storage_domain_uuid=DOMAIN, display_network=display)  # type: ignore[arg-type]
        return xml.split('network="vdsm-')[1].split('"')[0]

    vm = small(devices=(VNC,), nics=(nic(1, network="two words"), nic(2, network="net2")))
    assert network(vm) == "net2"
    assert network(vm, "display") == "display"
    assert network(dataclasses.replace(vm, nics=())) == "ovirtmgmt"


def test_keyboards() -> None:
    assert attribute(built(), "devices/graphics", "keymap") == "en-us"
    german = small(devices=(VNC,), vnc_keyboard_layout="de")
    assert attribute(built(german), "devices/graphics", "keymap") == "de"
    assert "'de fr' is none" in notes(VARIANTS["several consoles"])


def test_spice_becomes_vnc_and_qxl_becomes_vga() -> None:
    vm = VARIANTS["several consoles"]
    root = built(vm)
    assert [item.get("type") for item in root.findall("devices/graphics")] == ["vnc"]
    assert [item.get("type") for item in root.findall("devices/video/model")] == ["vga"]
    assert "VNC, not SPICE" in notes(vm)
    assert "vga, not qxl" in notes(vm)
    assert "video card qxl is left out: there is one already" in notes(vm)


def test_headless() -> None:
    """The predecessor lost the display of types 3, bochs, and 4, none."""
    vm = without(
        "graphics", without("video", dataclasses.replace(VM, display_type=DisplayType.NONE))
    )
    for root in (built(vm), built(VARIANTS["headless"])):
        assert root.find("devices/graphics") is None
        assert root.find("devices/video") is None
        assert root.find("devices/input") is None


def test_video_models() -> None:
    assert attribute(built(VARIANTS["bochs"]), "devices/video/model", "type") == "bochs"
    for display, model in (
        (DisplayType.BOCHS, "bochs"),
        (DisplayType.CIRRUS, "cirrus"),
        (DisplayType.NONE, "vga"),
        (None, "vga"),
        (DisplayType.QXL, "vga"),
    ):
        vm = small(devices=(VNC,), display_type=display)
        assert attribute(built(vm), "devices/video/model", "type") == model
    tiny = Device("", 20, "video", "vga", spec_params=(("vram", "64"),))
    assert attribute(built(small(devices=(tiny,))), "devices/video/model", "vram") is None


def test_rng_balloon_and_console() -> None:
    root = built()
    assert root.findtext("devices/rng/backend") == "/dev/random"
    assert attribute(root, "devices/rng/rate", "bytes") == "64"
    assert attribute(root, "devices/memballoon", "model") == "virtio"
    assert attribute(root, "devices/console/target", "type") == "virtio"
    assert attribute(built(without("balloon")), "devices/memballoon", "model") == "none"
    # The predecessor gave every VM a generator of random numbers.
    assert built(without("rng")).find("devices/rng") is None


def test_the_memory_balloon_is_the_devices_and_its_use_the_flags() -> None:
    vm = small(devices=(device(1, "balloon", "memballoon", model="virtio"),), has_balloon=False)
    assert attribute(built(vm), "devices/memballoon", "model") == "virtio"


def test_watchdogs() -> None:
    root = built(VARIANTS["comfort"])
    (watchdog,) = root.findall("devices/watchdog")
    assert (watchdog.get("model"), watchdog.get("action")) == ("i6300esb", "reset")
    assert attribute(built(VARIANTS["ib700"]), "devices/watchdog", "model") == "ib700"
    ib700 = (device(1, "watchdog", "watchdog", model="ib700"),)
    assert built(small(devices=ib700)).find("devices/watchdog") is None
    assert "watchdog 'ib700' is left out" in notes(small(devices=ib700))
    odd = small_pc(devices=(device(1, "watchdog", "watchdog", model="i6300esb", action="bark"),))
    assert attribute(built(odd), "devices/watchdog", "action") == "none"
    assert "'bark' is no action" in notes(odd)


def test_sound() -> None:
    assert attribute(built(), "devices/sound", "model") == "ich6"
    assert attribute(built(VARIANTS["comfort"]), "devices/sound", "model") == "ich9"
    assert "sound card 'ac97' is left out" in notes(VARIANTS["comfort"])


def test_what_libvirt_takes_once_is_there_once() -> None:
    vm = VARIANTS["comfort"]
    root = built(vm)
    assert len(root.findall("devices/memballoon")) == 1
    assert "device balloon memballoon is left out: there is one already" in notes(vm)
    assert len(built(VARIANTS["several consoles"]).findall("devices/console")) == 1
    tpms = VARIANTS["uefi"]
    twice = dataclasses.replace(tpms, devices=(*tpms.devices, device(9, "tpm", "tpm")))
    assert len(built(twice).findall("devices/tpm")) == 1


def test_what_is_left_out_is_said_with_the_reason() -> None:
    said = notes(VARIANTS["comfort"])
    assert "device smartcard smartcard is left out: it needs SPICE" in said
    assert "device redir spicevmc is left out: it needs SPICE" in said
    assert "device hostdev pci_0000_01_00_0 is left out: it belongs to one host" in said
    assert "device disk floppy is left out: no such kind is built" in said
    assert "the smartcard is left out: it needs SPICE" in notes(small(has_smartcard=True))


def test_random_numbers_that_are_odd() -> None:
    odd = small(devices=(device(1, "rng", "virtio", source="dice", bytes="all"),))
    assert built(odd).findtext("devices/rng/backend") == "/dev/urandom"
    assert built(odd).find("devices/rng/rate") is None
    assert "reads urandom, not 'dice'" in notes(odd)
    hardware = built(VARIANTS["comfort"]).findtext("devices/rng/backend")
    assert hardware == "/dev/hwrng"


def test_the_console_as_a_socket() -> None:
    root = built(VARIANTS["console socket"])
    path = f"/var/run/ovirt-vmconsole-console/{VARIANTS['console socket'].uuid}.sock"
    assert attribute(root, "devices/console", "type") == "unix"
    assert attribute(root, "devices/console/source", "path") == path
    assert attribute(root, "devices/console/target", "type") == "serial"


def test_devices_have_the_engines_names_and_each_once() -> None:
    assert attribute(built(), "devices/rng/alias", "name") == (
        "ua-0c000000-0000-4000-8000-000000000002"
    )
    vm = small(devices=(VNC, VGA, VGA, dataclasses.replace(VGA, kind="rng", device="virtio")))
    names = [item.get("name") for item in built(vm).iter("alias")]
    assert len(names) == len(set(names))
    odd = small(devices=(dataclasses.replace(VGA, device_uuid="no uuid"),))
    assert built(odd).find("devices/video/alias") is None

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.virt.domain_xml import (
    HostOffer,
    VirtDomain,
    VirtPlacement,
    offer_of,
    place,
    read_definition,
)
from tests.vdsm.embedded import DOMAIN, VM, VOLUME, make_xml

KVM = HostOffer(("qemu", "kvm"), frozenset({"pc", "q35", "pc-q35-7.2"}), frozenset({"dac"}))
TCG = HostOffer(("qemu",), frozenset({"pc", "q35"}))
DISK = "/rhev/images/a"


def placed(xml: str, offer: HostOffer = KVM, **more: Any) -> tuple[etree._Element, VirtDomain]:
    domain, _files = read_definition(xml, VM)
    values = {"accelerator": "auto", "disk_paths": {"vda": DISK}, **more}
    made = place(xml, domain, VirtPlacement(offer=offer, **values))
    return etree.fromstring(made.xml), made


def text_of(root: etree._Element, path: str, name: str) -> str:
    found = root.find(path)
    assert found is not None
    return found.get(name) or ""


def test_the_disk_is_the_volume_and_its_owner_is_left_alone() -> None:
    root, made = placed(make_xml())
    assert text_of(root, "devices/disk/source", "file") == DISK
    assert text_of(root, "devices/disk/source/seclabel", "relabel") == "no"
    assert text_of(root, "devices/disk/driver", "cache") == "none"
    assert not made.notes


def test_an_unprivileged_libvirt_knows_no_owners() -> None:
    root, _made = placed(make_xml(), TCG)
    assert root.find("devices/disk/source/seclabel") is None


def test_a_block_volume_is_a_device() -> None:
    root, _made = placed(make_xml(), disk_paths={"vda": "/dev/sd/lv"})
    assert text_of(root, "devices/disk", "type") == "block"
    assert text_of(root, "devices/disk/source", "dev") == "/dev/sd/lv"


def test_without_direct_io_the_cache_still_writes_through() -> None:
    root, made = placed(make_xml(), no_direct_io=frozenset({"vda"}))
    assert text_of(root, "devices/disk/driver", "cache") == "writethrough"
    assert made.notes == ("disk vda: its storage has no direct I/O",)


def test_the_lease_stays_for_sanlock_only() -> None:
    root, _made = placed(make_xml())
    assert root.find("devices/lease") is None
    root, _made = placed(make_xml(), lease_paths={VOLUME: f"{DISK}.lease"})
    assert text_of(root, "devices/lease/target", "path") == f"{DISK}.lease"
    assert text_of(root, "devices/lease/target", "offset") == "0"
    assert root.findtext("devices/lease/lockspace") == DOMAIN


@pytest.mark.parametrize(
    ("offer", "accelerator", "kind"),
    [(KVM, "auto", "kvm"), (KVM, "tcg", "qemu"), (TCG, "auto", "qemu"), (KVM, "kvm", "kvm")],
)
def test_the_type_is_what_the_host_has(offer: HostOffer, accelerator: str, kind: str) -> None:
    root, made = placed(make_xml(), offer, accelerator=accelerator)
    assert root.get("type") == kind
    assert bool(made.notes) is (kind == "qemu"), "that it is slow is said"


def test_kvm_that_is_wanted_and_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="accelerator kvm is not to be had"):
        placed(make_xml(), TCG, accelerator="kvm")


def test_an_emulated_cpu_is_the_best_one() -> None:
    cpu = (
        "<cpu mode='host-passthrough'><topology sockets='1' cores='1' threads='1'/></cpu><devices>"
    )
    root, made = placed(make_xml().replace("<devices>", cpu, 1), TCG)
    assert text_of(root, "cpu", "mode") == "maximum"
    assert root.find("cpu/topology") is not None
    assert any("CPU" in note for note in made.notes)


@pytest.mark.parametrize(
    ("machine", "used"),
    [("pc-q35-rhel8.6.0", "q35"), ("pc-i440fx-rhel7.6.0", "pc"), ("pc-q35-7.2", "pc-q35-7.2")],
)
def test_a_machine_that_is_not_here_is_the_plain_one(machine: str, used: str) -> None:
    root, made = placed(make_xml().replace("machine='pc'", f"machine='{machine}'"))
    assert text_of(root, "os/type", "machine") == used
    assert bool(made.notes) is (machine != used)


def test_another_architectures_machine_is_refused() -> None:
    with pytest.raises(BadInput, match="pseries"):
        placed(make_xml().replace("machine='pc'", "machine='pseries'"))


def test_files_that_are_not_here_are_left_to_libvirt() -> None:
    xml = make_xml(devices="<emulator>/usr/libexec/qemu-kvm</emulator>").replace(
        "</os>", "<loader>/usr/share/OVMF/x.fd</loader><nvram template='y'/></os>"
    )
    _domain, files = read_definition(xml, VM)
    assert files == {"/usr/libexec/qemu-kvm", "/usr/share/OVMF/x.fd"}
    root, made = placed(xml, missing_files=files)
    assert root.find("devices/emulator") is None
    assert root.find("os/loader") is None
    assert root.find("os/nvram") is None
    assert text_of(root, "os", "firmware") == "efi"
    assert len(made.notes) == 2
    root, _made = placed(xml)
    assert root.findtext("devices/emulator") == "/usr/libexec/qemu-kvm"


NIC = (
    "<interface type='bridge'><source bridge='ovirtmgmt'/><mac address='00:16:3e:00:00:01'/>"
    "<filterref filter='vdsm-no-mac-spoofing'/><driver name='vhost'/></interface>"
)


@pytest.mark.parametrize(
    ("networks", "kind", "source"),
    [
        ({}, "bridge", {"bridge": "ovirtmgmt"}),
        ({"ovirtmgmt": "bridge=br0"}, "bridge", {"bridge": "br0"}),
        ({"ovirtmgmt": "network=default"}, "network", {"network": "default"}),
        ({"ovirtmgmt": "user"}, "user", None),
    ],
)
def test_networks(networks: dict[str, str], kind: str, source: Any) -> None:
    root, made = placed(make_xml(devices=NIC), networks=networks)
    assert text_of(root, "devices/interface", "type") == kind
    found = root.find("devices/interface/source")
    assert (None if found is None else {str(k): v for k, v in found.items()}) == source
    assert root.find("devices/interface/filterref") is None, "VDSM's own"
    assert made.notes


def test_sockets_of_ovirts_own_services_are_libvirts_business() -> None:
    devices = (
        "<channel type='unix'><source mode='bind' path='/var/x'/><target type='virtio' name='a'/>"
        "</channel><console type='unix'><source path='/var/y'/><target type='virtio'/></console>"
        "<graphics type='vnc' passwdValidTo='1970-01-01T00:00:01'>"
        "<listen type='network' network='vdsm-ovirtmgmt'/></graphics>"
    )
    root, _made = placed(make_xml(devices=devices))
    assert root.find("devices/channel/source") is None
    assert text_of(root, "devices/console", "type") == "pty"
    assert text_of(root, "devices/graphics/listen", "address") == "127.0.0.1"
    assert text_of(root, "devices/graphics", "passwdValidTo"), "shut until there is a password"


def test_sysinfo_reboot_and_metadata() -> None:
    more = (
        "<on_reboot>destroy</on_reboot><sysinfo type='smbios'><system>"
        "<entry name='product'>OS-NAME:</entry><entry name='serial'>HOST-SERIAL:</entry>"
        "</system></sysinfo><devices>"
    )
    xml = make_xml().replace("<devices>", more, 1)
    root, made = placed(xml, sysinfo={"OS-NAME:": "Debian", "HOST-SERIAL:": ""})
    assert [entry.text for entry in root.iter("entry")] == ["Debian"]
    assert root.find("on_reboot") is None, "as VDSM: restart, the default"
    assert f"volumeID>{VOLUME}" in made.xml
    destroy = make_xml(metadata="<ovirt-vm:destroy_on_reboot>true</ovirt-vm:destroy_on_reboot>")
    root, _made = placed(destroy)
    assert root.findtext("on_reboot") == "destroy"


def test_another_vms_definition_is_refused() -> None:
    with pytest.raises(BadInput, match=f"not of {DOMAIN}"):
        read_definition(make_xml(), DOMAIN)


def test_an_offer_is_read_of_one_architecture() -> None:
    offer = offer_of(
        "<capabilities><host><secmodel><model>dac</model></secmodel></host><guest>"
        "<arch name='i686'><machine>isapc</machine><domain type='test'/></arch></guest><guest>"
        "<arch name='x86_64'><machine>pc</machine><domain type='qemu'/><domain type='kvm'>"
        "<machine>q35</machine></domain></arch></guest></capabilities>",
        "x86_64",
    )
    assert offer == HostOffer(("qemu", "kvm"), frozenset({"pc", "q35"}), frozenset({"dac"}))
    with pytest.raises(BadInput, match="capabilities"):
        offer_of("<", "x86_64")

# SPDX-License-Identifier: Apache-2.0
"""Each element and attribute of a definition is in QEMU's command, or it is said why not."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.vdsm.domain import coverage as domain_coverage
from ha_agent.vdsm.domain.coverage import NOT_FOR_QEMU, USED, paths, unknown
from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.qemu.arguments import build_command
from ha_agent.vdsm.qemu.placement import Placement, QemuBinary
from tests.ovfstore.built_domain import DOMAIN
from tests.ovfstore.vm_variants import VARIANTS

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "ovf"
QEMU = QemuBinary(
    path="/usr/bin/qemu",
    machines=frozenset({"pc", "q35"}),
    cpu_models=frozenset({"Nehalem", "max", "host"}),
    cpu_flags=frozenset({"aes", "x2apic"}),
    devices=frozenset(
        {"virtio-net-pci", "e1000", "e1000e", "rtl8139", "VGA", "cirrus-vga", "tpm-crb", "pvpanic"}
    ),
)


def _placement(domain: Domain) -> Placement:
    nics = {nic.network: "user" for nic in domain.nics}
    return Placement(
        run_dir=Path("/run/v"),
        accelerator="kvm",
        networks=nics,
        firmware="/fw/CODE.fd",
        nvram="/run/v/nvram.fd",
        free_huge_pages={2048: 1 << 20, 1 << 20: 1 << 10},
        tpm_socket="/run/v/swtpm.sock",
    )


def _outcome(document: etree._Element) -> object:
    """Return all that may come of a document: arguments and notes, or what is said against it.

    With it what else of the embedded VDSM uses the document: the leases, the firmware's choice.
    """
    try:
        domain = parse_domain(etree.tostring(document))
        command = build_command(domain, QEMU, _placement(domain))
    except BadInput as error:
        return str(error)
    beside = (domain.leases, domain.graphics, domain.secure_boot, domain.nvram_template)
    optional = tuple(disk.is_optional for disk in domain.disks)
    return command, beside, optional


@functools.cache
def _documents() -> dict[str, str]:
    found = {
        name: build_domain_xml(vm, storage_domain_uuid=DOMAIN)[0] for name, vm in VARIANTS.items()
    }
    for path in sorted(SAMPLES.glob("*.ovf")):
        text = etree.parse(str(path)).findtext(".//EngineXml")
        if text:
            found[path.name] = text.strip()
    return found


def _roots() -> Iterator[tuple[str, etree._Element]]:
    for name, text in _documents().items():
        yield name, etree.fromstring(text.encode())


def test_our_translator_and_the_engine_write_nothing_that_is_in_no_table() -> None:
    strange = {(name, path) for name, root in _roots() for path in unknown(root)}
    # The engine's limits and filters of networks are libvirt's and nwfilter's: noted.
    assert {path for _, path in strange} <= {
        "devices/interface/bandwidth",
        "devices/interface/filterref@filter",
        "devices/video/model@ram",
        "devices/video/model@vgamem",
    }


def _without(root: etree._Element, wanted: str) -> Iterator[etree._Element]:
    """Yield the document without the path, or with another value, for each place of it."""
    places = [number for number, (path, _, _) in enumerate(paths(root)) if path == wanted]
    for number in places:
        for value in (None, "7"):
            changed = copy.deepcopy(root)
            _, element, attribute = list(paths(changed))[number]
            if value is not None and attribute:
                element.set(attribute, value)
            elif value is not None:
                element.text = value
            elif attribute:
                del element.attrib[attribute]
            else:
                element.text = None
            parent = element.getparent()
            is_bare = not (len(element) or element.attrib or (element.text or "").strip())
            if value is None and parent is not None and is_bare:
                parent.remove(element)
            yield changed


@functools.cache
def _seen() -> dict[str, list[str]]:
    seen: dict[str, list[str]] = {}
    for name, root in _roots():
        for path, _, _ in paths(root):
            seen.setdefault(path, []).append(name)
    return seen


@pytest.mark.parametrize("path", sorted(set(_seen()) & USED))
def test_what_is_used_makes_a_difference(path: str) -> None:
    for name in dict.fromkeys(_seen()[path]):
        root = etree.fromstring(_documents()[name].encode())
        before = _outcome(root)
        if any(_outcome(changed) != before for changed in _without(root, path)):
            return
    raise AssertionError(f"{path} changes nothing in {', '.join(_seen()[path])}")


@pytest.mark.parametrize("path", sorted(set(_seen()) & set(NOT_FOR_QEMU) - {"metadata"}))
def test_what_is_not_for_qemu_makes_none(path: str) -> None:
    assert NOT_FOR_QEMU[path]
    name = _seen()[path][0]
    root = etree.fromstring(_documents()[name].encode())
    before = _outcome(root)
    assert all(_outcome(changed) == before for changed in _without(root, path))


def test_no_path_is_in_both_tables() -> None:
    assert not USED & set(NOT_FOR_QEMU)


def test_what_is_in_no_table_is_noted() -> None:
    root = etree.fromstring("<domain><devices><disk><iotune total='1'/></disk></devices></domain>")
    assert domain_coverage.unknown(root) == ("devices/disk/iotune@total",)

# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: for each target a function of bytes that lets no exception out but a finding.

A refusal must be a BadInput that names the input (`where`). What is accepted must hold what the
readers promise: a definition is the same after it was written and read again; an archive means
to us what it means to Python's tarfile.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from fuzz.mutate import mutate_xml
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_volume
from ha_agent.ovfstore.engine_xml import judge_engine_xml
from ha_agent.ovfstore.locate import StoreCopy, format_description, order_copies, parse_description
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_explain import explain_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf

WHERE = "fuzz input"
DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
VM = "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910"
_SAMPLE = Path(__file__).resolve().parents[1] / "tests" / "data" / "engine_vm.ovf"


@dataclass(frozen=True)
class Target:
    """`runs` is how many inputs `make fuzz` tries; `words` are what inputs are made of; `mutate`
    makes an input from another one and a seed, beside libFuzzer's own ways."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...]
    runs: int
    mutate: Optional[Callable[[bytes, int], bytes]] = None


class Finding(AssertionError):
    """An input for which a promise does not hold."""


def _refused(error: BadInput) -> None:
    if WHERE not in error.where or not error.what:
        raise Finding(f"the error does not name its input: {error}") from error


def fuzz_ovf(data: bytes) -> None:
    """An OVF: parsed, explained, translated, written again."""
    try:
        vm = parse_ovf(data, where=WHERE)
    except BadInput as error:
        _refused(error)
        return
    explain_ovf(data, where=WHERE)
    if parse_ovf(build_ovf(vm), where=WHERE) != vm:
        raise Finding("the definition is another one after it was written and read again")
    parse_vm_conf(vm_conf_text(vm), where=WHERE)
    try:
        domain_xml(vm, storage_domain_uuid=DOMAIN)
    except BadInput:
        return  # no disk that could be leased; there is no input to name any more


def fuzz_engine_xml(data: bytes) -> None:
    """The engine's own domain XML: judged and repaired, or refused with a sentence."""
    text = data.decode("utf-8", "replace")
    verdict = judge_engine_xml(text, vm_uuid=VM, storage_domain_uuid=DOMAIN)
    if verdict.xml is None:
        if not verdict.refusal:
            raise Finding("refused without a reason")
        return
    again = judge_engine_xml(verdict.xml, vm_uuid=VM, storage_domain_uuid=DOMAIN)
    if again.xml is None:
        raise Finding(f"what was repaired is refused: {again.refusal}")


def fuzz_tar(data: bytes) -> None:
    """An archive: refused, or with the same content as Python's tarfile sees."""

    def read_at(offset: int, length_bytes: int) -> bytes:
        return data[offset : offset + length_bytes]

    try:
        members = tar_volume.list_members(read_at, len(data), where=WHERE)
        names = sorted({member.name for member in members})
        found = tar_volume.read_members(read_at, len(data), names, where=WHERE)
    except BadInput as error:
        _refused(error)
        return
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for name in names:
            try:
                info = archive.getmember(name)
            except KeyError:
                # Python takes a trailing slash away, and reads some names otherwise.
                continue
            file = archive.extractfile(info)
            if file is not None and file.read() != found[name]:
                raise Finding(f"tarfile reads {name!r} otherwise")


def fuzz_description(data: bytes) -> None:
    """The description of a volume, as VDSM hands it on."""
    text = data.decode("utf-8", "replace")
    try:
        parse_description(text, where=WHERE)
    except BadInput as error:
        _refused(error)
    copies = [StoreCopy("image", "one", text), StoreCopy("image", "other", _good_description())]
    if order_copies(copies, storage_domain_uuid=DOMAIN)[0].usable is not True:
        raise Finding("a bad description hides the good copy")


def fuzz_vm_conf(data: bytes) -> None:
    """A vm.conf: refused, or turned into a definition whose own vm.conf can be read."""
    try:
        conf = parse_vm_conf(data, where=WHERE)
        vm, _invented = definition_from_vm_conf(conf, where=WHERE)
    except BadInput as error:
        _refused(error)
        return
    parse_vm_conf(vm_conf_text(vm), where=WHERE)


def _ovf_seeds() -> list[bytes]:
    ovf = _SAMPLE.read_bytes()
    vm = parse_ovf(ovf, where=str(_SAMPLE))
    return [ovf, build_ovf(vm)]


def _engine_xml_seeds() -> list[bytes]:
    vm = parse_ovf(_SAMPLE.read_bytes(), where=str(_SAMPLE))
    built = domain_xml(vm, storage_domain_uuid=DOMAIN).xml
    return [built.encode(), built.replace(vm.uuid, VM).encode()]


def _tar_seeds() -> list[bytes]:
    members = [(VM, b"<ovf/>" * 100), (DOMAIN, b"x")]
    text = "Sun Nov 22 05:16:23 UTC 2026"
    archive = tar_volume.build_archive(
        DOMAIN, members, last_updated_text=text, written_at=WallTime(1e9)
    )
    return [archive, archive + archive[:2048]]


def _good_description() -> str:
    return format_description(
        storage_domain_uuid=DOMAIN,
        updated=True,
        last_updated_text="Wed Jul 01 11:43:07 IDT 2020",
        size_bytes=22528,
    )


def _description_seeds() -> list[bytes]:
    never = format_description(storage_domain_uuid=DOMAIN, updated=False, last_updated_text=None)
    return [
        _good_description().encode(),
        never.encode(),
        b'{"DiskAlias":"OVF_STORE","DiskDescription":"OVF_STORE"}',
    ]


def _vm_conf_seeds() -> list[bytes]:
    vm = parse_ovf(_SAMPLE.read_bytes(), where=str(_SAMPLE))
    return [vm_conf_text(vm).encode(), b"vmId=" + VM.encode() + b"\nmemSize=4096\nsmp=2\n"]


_OVF_WORDS = (
    b"<Item>", b"</Item>", b"<Section ", b"<Disk ", b"ovf:", b"rasd:", b"xsi:type=",
    b"<!DOCTYPE", b"<!ENTITY a ", b"&a;", b"&#x0;", b"<![CDATA[", b"]]>", b"true",
    b"false", b"9" * 20, b"-1", b"ovf:fileRef=", b"ovf:parentRef=", b"BootOrder", b"{type=pci, slot=0x03}",
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "description": Target(
        fuzz_description,
        _description_seeds,
        (
            b'"Updated"',
            b'"Size"',
            b'"Last Updated"',
            b"true",
            b"null",
            b"1e999",
            b"-1",
            b"{",
            b"[",
        ),
        500_000,
    ),
    "tar": Target(
        fuzz_tar,
        _tar_seeds,
        (b"ustar\x0000", b"ustar  \x00", b"\x80", b"\xff", b"00000000000 ", b"L", b"x", b"../"),
        250_000,
    ),
    "vm_conf": Target(
        fuzz_vm_conf,
        _vm_conf_seeds,
        (b"devices={", b"drive=", b"custom_", b"xmlBase64=", b"cpuPinning={", b":{", b"},", b"#"),
        120_000,
    ),
    "ovf": Target(fuzz_ovf, _ovf_seeds, _OVF_WORDS, 80_000, mutate_xml),
    "engine_xml": Target(
        fuzz_engine_xml,
        _engine_xml_seeds,
        (
            b"<lease>",
            b"<disk ",
            b"LEASE-PATH:",
            b"ovirt-vm:",
            b"<metadata>",
            b"<!ENTITY a ",
            b"&a;",
        ),
        60_000,
        mutate_xml,
    ),
}

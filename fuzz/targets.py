# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: for each target a function of bytes that lets no exception out but a finding.

A refusal must be a BadInput that names the input (`where`). What is accepted must hold what the
readers promise: a definition is the same after it was written and read again. Archives are in
archives.py, VDSM's wire is in wire.py, the predecessor's files are in old_files.py.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from fuzz import archives, old_files, wire
from fuzz.mutate import mutate_tar, mutate_xml
from fuzz.mutate_wire import mutate_frames, mutate_json
from fuzz.promise import DOMAIN, VM, WHERE, Finding, Target, refused
from ha_agent.errors import BadInput
from ha_agent.ovfstore.difference import differences
from ha_agent.ovfstore.engine_xml import judge_engine_xml
from ha_agent.ovfstore.locate import StoreCopy, format_description, order_copies, parse_description
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_explain import explain_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf
from ha_agent.ovfstore.xml_difference import xml_differences

_SAMPLE = Path(__file__).resolve().parents[1] / "tests" / "data" / "engine_vm.ovf"


def fuzz_ovf(data: bytes) -> None:
    """An OVF: parsed, explained, translated, written again."""
    try:
        vm = parse_ovf(data, where=WHERE)
    except BadInput as error:
        refused(error)
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


def fuzz_difference(data: bytes) -> None:
    """Two definitions: what changed can be told, one way and back, and nothing in itself."""
    sample = _sample_vm()
    try:
        vm = parse_ovf(data, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    if differences(vm, vm):
        raise Finding("a definition differs from itself")
    there, back = differences(sample, vm), differences(vm, sample)
    if bool(there) != bool(back):
        raise Finding("a difference is one only in one direction")
    if any("\n" in sentence for sentence in there):
        raise Finding("a sentence of more than one line")


def fuzz_xml_difference(data: bytes) -> None:
    """A domain XML beside the usual one: what changed, one way and back."""
    usual, text = _sample_xml(), data.decode("utf-8", "replace")
    try:
        there, back = xml_differences(usual, text), xml_differences(text, usual)
    except BadInput as error:
        if "EngineXml" not in error.where or not error.what:
            raise Finding(f"the error does not name its input: {error}") from error
        return
    if bool(there) != bool(back) or xml_differences(text, text):
        raise Finding("a difference is one only in one direction, or of a text and itself")


def fuzz_description(data: bytes) -> None:
    """The description of a volume, as VDSM hands it on."""
    text = data.decode("utf-8", "replace")
    try:
        parse_description(text, where=WHERE)
    except BadInput as error:
        refused(error)
    copies = [StoreCopy("image", "one", text), StoreCopy("image", "other", _good_description())]
    if order_copies(copies, storage_domain_uuid=DOMAIN)[0].usable is not True:
        raise Finding("a bad description hides the good copy")


def fuzz_vm_conf(data: bytes) -> None:
    """A vm.conf: refused, or turned into a definition whose own vm.conf can be read."""
    try:
        conf = parse_vm_conf(data, where=WHERE)
        vm, _invented = definition_from_vm_conf(conf, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    parse_vm_conf(vm_conf_text(vm), where=WHERE)


@lru_cache(maxsize=1)
def _sample_vm() -> VmDefinition:
    return parse_ovf(_SAMPLE.read_bytes(), where=str(_SAMPLE))


@lru_cache(maxsize=1)
def _sample_xml() -> str:
    return domain_xml(_sample_vm(), storage_domain_uuid=DOMAIN).xml


def _ovf_seeds() -> list[bytes]:
    return [_SAMPLE.read_bytes(), build_ovf(_sample_vm())]


def _engine_xml_seeds() -> list[bytes]:
    built = _sample_xml()
    return [built.encode(), built.replace(_sample_vm().uuid, VM).encode()]


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
    return [
        vm_conf_text(_sample_vm()).encode(),
        b"vmId=" + VM.encode() + b"\nmemSize=4096\nsmp=2\n",
    ]


_OVF_WORDS = (
    b"<Item>", b"</Item>", b"<Section ", b"<Disk ", b"ovf:", b"rasd:", b"xsi:type=",
    b"<!DOCTYPE", b"<!ENTITY a ", b"&a;", b"&#x0;", b"<![CDATA[", b"]]>", b"true",
    b"false", b"9" * 20, b"-1", b"ovf:fileRef=", b"ovf:parentRef=", b"BootOrder",
    b"{type=pci, slot=0x03}",
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
        300_000,
    ),
    "tar": Target(archives.fuzz_tar, archives.tar_seeds, archives.TAR_WORDS, 150_000, mutate_tar),
    "tar_tail": Target(
        archives.fuzz_tar_tail, archives.tar_seeds, archives.TAR_WORDS, 120_000, mutate_tar
    ),
    "conf_volume": Target(
        archives.fuzz_conf_volume,
        archives.conf_volume_seeds,
        archives.TAR_WORDS,
        40_000,
        mutate_tar,
    ),
    "backup": Target(
        archives.fuzz_backup,
        archives.backup_seeds,
        archives.TAR_WORDS + archives.JSON_WORDS,
        80_000,
        mutate_tar,
    ),
    "approval": Target(
        archives.fuzz_approval, archives.approval_seeds, archives.JSON_WORDS, 100_000
    ),
    "version": Target(archives.fuzz_version, archives.version_seeds, archives.JSON_WORDS, 100_000),
    "vm_conf": Target(
        fuzz_vm_conf,
        _vm_conf_seeds,
        (b"devices={", b"drive=", b"custom_", b"xmlBase64=", b"cpuPinning={", b":{", b"},", b"#"),
        120_000,
    ),
    "hosted_engine_conf": Target(
        old_files.fuzz_hosted_engine_conf, old_files.conf_seeds, old_files.CONF_WORDS, 60_000
    ),
    "ini_conf": Target(old_files.fuzz_ini_conf, old_files.ini_seeds, old_files.INI_WORDS, 60_000),
    "ovf": Target(fuzz_ovf, _ovf_seeds, _OVF_WORDS, 30_000, mutate_xml),
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
    "difference": Target(fuzz_difference, _ovf_seeds, _OVF_WORDS, 8_000, mutate_xml),
    "xml_difference": Target(
        fuzz_xml_difference, _engine_xml_seeds, (b"<disk ", b"<mac ", b"dev="), 6_000, mutate_xml
    ),
    "stomp": Target(wire.fuzz_stomp, wire.stomp_seeds, wire.STOMP_WORDS, 200_000, mutate_frames),
    "jsonrpc": Target(
        wire.fuzz_jsonrpc, wire.jsonrpc_seeds, wire.JSONRPC_WORDS, 300_000, mutate_json
    ),
    "vdsm_answers": Target(
        wire.fuzz_answers, wire.answer_seeds, wire.JSONRPC_WORDS, 200_000, mutate_json
    ),
    "vdsm_client": Target(
        wire.fuzz_client,
        wire.client_seeds,
        wire.STOMP_WORDS + wire.JSONRPC_WORDS,
        100_000,
        mutate_frames,
    ),
    "vdsm_server": Target(
        wire.fuzz_server,
        wire.server_seeds,
        wire.STOMP_WORDS + wire.JSONRPC_WORDS,
        20_000,
        mutate_frames,
    ),
}

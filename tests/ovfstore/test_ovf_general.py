# SPDX-License-Identifier: Apache-2.0
"""Content's simple elements, and the sections that no start needs, with every one of them set."""

from __future__ import annotations

import pathlib
from typing import Optional

import pytest
from lxml import etree

from ha_agent.ovfstore.codes import (
    CpuPinningPolicy,
    MigrationSupport,
    ResumeBehavior,
    SerialNumberPolicy,
)
from ha_agent.ovfstore.model import User, VmDefinition
from ha_agent.ovfstore.ovf_fields import Fields
from ha_agent.ovfstore.ovf_general import active_snapshot
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.ovf_reading import Reading

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
OVF = (DATA / "engine_vm.ovf").read_text(encoding="utf-8")
CONTENT = (DATA / "engine_vm_more.txt").read_text(encoding="utf-8").split("\n[nic]")[0][10:]


def parsed(more: str, *without: str) -> VmDefinition:
    text = OVF
    for part in without:
        assert part in text
        text = text.replace(part, "")
    return parse_ovf(text.replace("<Origin>", more + "<Origin>", 1).encode(), where="F")


def test_every_field() -> None:
    vm = parsed(CONTENT)
    assert (vm.serial_number_policy, vm.custom_serial_number) == (SerialNumberPolicy.CUSTOM, "s")
    assert vm.has_smartcard
    assert vm.has_boot_menu
    assert (vm.kernel_path, vm.initrd_path, vm.kernel_arguments) == ("/k", "/i", "quiet")
    assert vm.resume_behavior is ResumeBehavior.KILL
    assert vm.has_multi_queues
    assert vm.virtio_scsi_queues == 4
    assert vm.lease_domain_uuid == "5d000000-0000-4000-8000-000000000001"
    assert (vm.cpu_pinning, vm.cpu_pinning_policy) == ("0#0", CpuPinningPolicy.MANUAL)
    assert vm.migration_support is MigrationSupport.MIGRATABLE
    assert vm.dedicated_host_uuids == ("5a1ec6b4-0203-00a3-034b-00000000033b",)
    assert vm.external_data == (("tpm", "QlpoOTE="),)
    assert vm.first_boot == (("hostname", "h"), ("rootPassword", "p"))
    assert vm.users == (User("admin@internal", ("UserRole",)),)
    assert (vm.affinity_groups, vm.affinity_labels) == (("g",), ("l",))
    assert vm.guest_applications == ("kernel-1",)
    assert (vm.vnc_keyboard_layout, vm.custom_compat_version) == ("de", "4.6")
    assert (vm.notes, vm.unreadable) == ((), ())
    assert dict(vm.extra_fields)["TunnelMigration"] == "false"


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("<VirtioScsiMultiQueuesEnabled>true</VirtioScsiMultiQueuesEnabled>", -1),
        ("<VirtioScsiMultiQueuesEnabled>false</VirtioScsiMultiQueuesEnabled>", 0),
        ('<VirtioScsiMultiQueuesEnabled queues="3">true</VirtioScsiMultiQueuesEnabled>', 3),
        ('<VirtioScsiMultiQueuesEnabled queues="3">false</VirtioScsiMultiQueuesEnabled>', 0),
        ("", 0),
    ],
)
def test_queues_of_the_scsi_controller(text: str, queues: int) -> None:
    assert parsed(text).virtio_scsi_queues == queues


def test_without_a_word_the_balloon_is_as_its_device() -> None:
    assert parsed("").has_balloon
    assert not parsed("", "<Type>balloon</Type>").has_balloon
    assert not parsed("<BalloonEnabled>false</BalloonEnabled>").has_balloon


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<ResumeBehavior>DANCE</ResumeBehavior>", "resume_behavior"),
        ("<SerialNumberPolicy>9</SerialNumberPolicy>", "serial_number_policy"),
        ("<CpuPinningPolicy>9</CpuPinningPolicy>", "cpu_pinning_policy"),
        ("<MigrationSupport>9</MigrationSupport>", "migration_support"),
    ],
)
def test_an_unknown_number_that_no_start_needs_is_noted(text: str, name: str) -> None:
    vm = parsed(text)
    assert getattr(vm, name) is None
    assert len(vm.notes) == 1
    assert "is no known" in vm.notes[0]
    element = text[1:].partition(">")[0]
    assert f"<{element}>{dict(vm.extra_fields)[element]}</{element}>" == text


def test_the_active_state_among_snapshots() -> None:
    def active(*kinds: str) -> Optional[str]:
        snapshots = "".join(
            f'<Snapshot id="{number}"><Type>{kind}</Type></Snapshot>'
            for number, kind in enumerate(kinds)
        )
        section = etree.fromstring(f"<Section>{snapshots}</Section>")
        return active_snapshot(Fields(section, Reading("F")))

    assert active("REGULAR", "ACTIVE", "PREVIEW") == "1"
    assert active("REGULAR") is None
    assert active_snapshot(None) is None

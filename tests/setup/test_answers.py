# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import BadInput
from ha_agent.setup.answers import (
    Answers,
    AnswersError,
    Given,
    check,
    form,
    load_answers,
    read_answers,
)

ENOUGH = """
[storage]
storage_connection = server:/he
[engine]
engine_fqdn = engine.example.org
[disk]
disk_image_file = /images/engine.qcow2
"""


def read(text: str) -> Answers:
    faults: list[str] = []
    return check(read_answers(text, "f", faults), faults)


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(AnswersError) as caught:
        read(text)
    return caught.value.faults


def test_defaults_fill_what_is_not_given() -> None:
    answers = read(ENOUGH)
    assert answers.text("storage_type") == "nfs"
    assert answers.number("memory_mib") == 16384
    assert answers.path("disk_image_file") == Path("/images/engine.qcow2")
    assert answers.text("iscsi_target") == ""
    assert answers.path("definition_file") is None


def test_sections_may_be_left_out() -> None:
    flat = "\n".join(line for line in ENOUGH.splitlines() if not line.startswith("["))
    assert read(flat) == read(ENOUGH)


def test_settings_are_checked_for_their_names() -> None:
    answers = read(ENOUGH + "[settings]\nlease.lease_expiry_seconds = 20\n")
    assert answers.settings == {("lease", "lease_expiry_seconds"): "20"}
    unknown_key, unknown_section = faults_of(
        ENOUGH + "[settings]\nlease.expiry = 2\nlaese.x = 1\n"
    )
    assert unknown_key.startswith("f:9: unknown key 'expiry' in lease; ")
    assert unknown_section == (
        "f:10: unknown setting 'laese.x': settings are section.key; did you mean lease?"
    )


@pytest.mark.parametrize("key", ["vm_lease = sanlock", "qemu_binary = /tmp/mine"])
def test_what_is_for_roots_daemon_goes_into_its_own_file(key: str) -> None:
    (fault,) = faults_of(ENOUGH + f"[settings]\nvdsm-server.{key}\n")
    assert fault.startswith(f"f:9: vdsm-server.{key.split()[0]} is ha-vdsm's")
    assert "restart ha-vdsm, and deploy then" in fault


def test_all_faults_are_told_at_once_with_file_and_line() -> None:
    found = faults_of(
        "[storage]\nstorage_typ = nfs\nnonsense\n[nowhere]\nmemory_mib = much\nmemory_mib = 1\n"
    )
    assert found[0] == "f:2: unknown key 'storage_typ'; did you mean storage_type?"
    assert found[1] == "f:3: is neither [section] nor key = value"
    assert found[2].startswith("f:4: unknown section [nowhere]")
    assert found[3] == "f:6: memory_mib is there already, at f:5"
    assert "f:5: memory_mib = 'much': expected a whole number, 64 to 4194304" in found
    assert any(text.startswith("storage_connection is missing: ") for text in found)
    assert any(text.startswith("engine_fqdn is missing: ") for text in found)
    assert any(text.startswith("disk_image_file is missing: ") for text in found)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("storage_type = nfs3", "lockfile does not work with storage_type = nfs3: NFS version 3"),
        ("storage_type = fc\nluns = a", "storage_connection has no place here: Fibre Channel"),
        ("iscsi_target = iqn.x", "iscsi_target has no place here: only iscsi has a target"),
        ("mac = 01:00:00:00:00:00", "expected a MAC address"),
        ("disk_volume = 35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1", "disk_volume has no place here"),
        ("host_id = 0", "expected a whole number, 1 to 2000"),
    ],
)
def test_what_contradicts_is_refused(more: str, what: str) -> None:
    flat = "\n".join(line for line in ENOUGH.splitlines() if not line.startswith("["))
    assert any(what in fault for fault in faults_of(flat + "\n" + more + "\n"))


def test_an_existing_disk_is_named_by_both() -> None:
    some = "35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1"
    text = f"storage_connection=s:/x\nengine_fqdn=e\ndisk_image = {some}\n"
    assert any("named by both" in fault for fault in faults_of(text))
    assert read(text + f"disk_volume = {some}\n").text("disk_volume") == some


ISCSI = """storage_type = iscsi
storage_connection = 192.0.2.1
iscsi_target = iqn.2026-11.org.example:he
iscsi_user = u
luns = 3600a
lease_backend = sanlock
sanlock_path = /dev/vg/lease
engine_fqdn = e
disk_image_file = /i
"""


def test_secrets_are_shown_nowhere() -> None:
    answers = read(ISCSI + "iscsi_password = hush\n")
    assert answers.text("iscsi_password") == "hush"
    assert "hush" not in repr(answers)
    assert "hush" not in form(answers)
    assert "hush" not in repr(Given("hush", "f:1"))
    assert "# iscsi_password = (not written down)" in form(answers)
    long = "x" * 300
    assert all(long[:50] not in text for text in faults_of(ISCSI + f"iscsi_password = {long}\n"))


def test_chap_needs_a_password() -> None:
    assert any("CHAP needs both" in text for text in faults_of(ISCSI))


def test_a_file_made_of_answers_gives_them_again() -> None:
    answers = read(ENOUGH + "[settings]\nlease.lease_expiry_seconds = 20\n")
    assert read(form(answers)) == answers


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent: can't be read: No such file"):
        load_answers(tmp_path / "absent", [])
    (tmp_path / "odd").write_bytes(b"a = \xff")
    with pytest.raises(BadInput, match="is not UTF-8"):
        load_answers(tmp_path / "odd", [])
    (tmp_path / "big").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(BadInput, match="is longer than"):
        load_answers(tmp_path / "big", [])

# SPDX-License-Identifier: Apache-2.0
"""What a join has to be told: a part of deploy's answers, or a hosted-engine.conf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ha_agent.errors import BadInput
from ha_agent.setup.answers import AnswersError, Given, read_answers
from ha_agent.setup.join.answers import ask_join, check_join, read_copy, server_of_copy
from ha_agent.vdsm.client.storage_server import DomainType

UUID = "00000000-0000-4000-8000-000000000001"


def given(**answers: str) -> Mapping[str, Given]:
    return {name: Given(text, f"--{name}") for name, text in answers.items()}


def test_the_storage_of_the_answers() -> None:
    answers = check_join(given(storage_type="nfs", storage_connection="srv:/he"), [])
    server = answers.server()
    assert server.domain_type is DomainType.NFS
    assert server.connections[0].fields["connection"] == "srv:/he"
    assert answers.get("vdsm_port") is None
    assert answers.get("domain_uuid") is None


def test_an_answers_file_of_a_deploy_will_do() -> None:
    faults: list[str] = []
    text = (
        "[storage]\nstorage_type = iscsi\nstorage_connection = 192.0.2.1\n"
        "iscsi_target = iqn.2026-11.org.example:he\niscsi_user = u\niscsi_password = p\n"
        "luns = 36001405\n[engine]\nengine_fqdn = e.example.com\n[vdsm]\nvdsm_port = 54322\n"
    )
    answers = check_join(read_answers(text, "f", faults), faults)
    assert answers.get("vdsm_port") == 54322
    fields = answers.server().connections[0].fields
    assert (fields["iqn"], fields["user"]) == ("iqn.2026-11.org.example:he", "u")


def test_all_faults_at_once_and_no_secret() -> None:
    faults: list[str] = []
    text = "nonsense_key = 1\nstorage_type = iscsi\niscsi_user = u\nvdsm_port = x\n"
    with pytest.raises(AnswersError) as caught:
        check_join(read_answers(text, "f", faults), faults)
    for word in ("nonsense_key", "storage_connection is missing", "iscsi_target", "f:4"):
        assert word in str(caught.value)


class Typist:
    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.shown.append(text)

    def ask(self, prompt: str, *, secret: bool) -> str:
        self.shown.append(f"{prompt}{'*' if secret else ''}")
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def test_a_person_is_asked_for_no_more_than_the_storage() -> None:
    typist = Typist("floppy", "nfs", "", "srv:/he", "")
    answers = check_join(ask_join(typist), [])
    assert answers.server().connections[0].name == "srv:/he"
    assert not typist.lines
    assert len([line for line in typist.shown if line.endswith(": ")]) == 5
    with pytest.raises(EOFError):
        ask_join(Typist("nfs"))


def test_a_copy_of_another_hosts_file(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(BadInput, match="not there"):
        read_copy(path)
    path.write_text(f"vmid={UUID}\nsdUUID={UUID}\nstorage=srv:/he\ndomainType=nfs\n")
    server = server_of_copy(read_copy(path))
    assert server is not None
    assert server.connections[0].fields["protocol_version"] == "4"
    path.write_text("storage=srv:/he\n")
    with pytest.raises(BadInput, match="vmid"):
        read_copy(path)
    path.write_bytes(b"\xff")
    with pytest.raises(BadInput, match="UTF-8"):
        read_copy(path)


def test_a_copy_about_storage_that_the_predecessor_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "c"
    known = f"vmid={UUID}\nsdUUID={UUID}\n"
    path.write_text(
        f"{known}ha_agent_storage_domain_type=posixfs\nha_agent_storage_vfs_type=ceph\n"
        "ha_agent_storage_connection=mon:/he\nha_agent_storage_mount_options=name=he\n"
    )
    server = server_of_copy(read_copy(path))
    assert server is not None
    assert server.connections[0].name == "mon:/he"
    assert server.connections[0].fields["vfs_type"] == "ceph"
    path.write_text(f"{known}ha_agent_storage_domain_type=tape\nha_agent_storage_connection=/x\n")
    with pytest.raises(BadInput, match="ha_agent_storage_domain_type: 'tape'"):
        server_of_copy(read_copy(path))

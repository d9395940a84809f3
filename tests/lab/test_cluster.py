# SPDX-License-Identifier: Apache-2.0
"""The answers that a lab's cluster is made from, as `ha-agent deploy` reads them."""

from __future__ import annotations

import pytest

from demo.guest import MEMORY_MIB
from ha_agent.setup.answers import Answers, check, read_answers
from lab.cluster import Choices, answers_text, parse_conf
from lab.storage import BLOCK_THERE, SHARE_THERE


def read(choices: Choices) -> Answers:
    faults: list[str] = []
    return check(read_answers(answers_text(choices), "answers.conf", faults), faults)


def test_a_measured_lab_has_our_shipped_settings() -> None:
    answers = read(Choices())
    assert answers.settings == {}
    assert answers.text("lease_backend") == "lockfile"
    assert answers.text("storage_connection") == SHARE_THERE
    assert answers.number("memory_mib") == MEMORY_MIB


def test_the_hosts_test_their_network_where_there_is_somebody_to_ping() -> None:
    faults: list[str] = []
    text = answers_text(Choices(), "10.77.0.254")
    answers = check(read_answers(text, "answers.conf", faults), faults)
    assert answers.text("gateway") == "10.77.0.254"
    assert read(Choices()).text("gateway") == ""


def test_sanlock_has_the_ownership() -> None:
    answers = read(Choices(lease="sanlock"))
    assert answers.text("lease_backend") == "sanlock"
    assert answers.settings == {}


def test_a_block_lab_has_sanlocks_lease_on_the_device() -> None:
    answers = read(Choices(storage="block"))
    assert answers.text("lease_backend") == "sanlock"
    assert answers.settings["sanlock", "path"] == BLOCK_THERE


def test_settings_are_added() -> None:
    answers = read(Choices(settings={"lease.lease_expiry_seconds": "20"}))
    assert answers.settings == {("lease", "lease_expiry_seconds"): "20"}


@pytest.mark.parametrize("text", ["vmid=a\nsdUUID = b\n# none\n", "sdUUID=b\n\nvmid=a"])
def test_keys_of_a_conf(text: str) -> None:
    assert parse_conf(text) == {"vmid": "a", "sdUUID": "b"}

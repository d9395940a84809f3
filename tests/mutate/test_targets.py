# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

from mutate.targets import GROUPS, LEFT_OUT, ROOT, TARGETS, arguments_of, targets


def test_all_targets_are_there_and_have_their_tests() -> None:
    for target in TARGETS:
        assert (ROOT / target.path).is_file()
        assert all(arguments_of(group) for group in target.groups)
    assert targets() == list(TARGETS)


def test_what_is_left_out_is_there_to_be_left_out() -> None:
    for path, *names in (one.split("::") for one in LEFT_OUT):
        text = (ROOT / path).read_text()
        assert all(f" {name}" in text for name in names)
    assert arguments_of("fsm") == ["tests/fsm", *(f"--deselect={one}" for one in LEFT_OUT)]


def test_groups_can_be_left_out() -> None:
    for target in targets(without=["scenarios", "simulator"]):
        assert target.groups
        assert not {"scenarios", "simulator"} & set(target.groups)
    assert {group for target in TARGETS for group in target.groups} == set(GROUPS)


def test_a_path_is_a_module() -> None:
    target = dataclasses.replace(TARGETS[0], path="ha_agent/fsm/table.py")
    assert target.module == "ha_agent.fsm.table"

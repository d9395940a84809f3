# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from ha_agent.broker.identity import load_instance, read_boot_id
from ha_agent.errors import EnvironmentFault


def test_a_restart_on_the_same_boot_keeps_it(tmp_path: Path) -> None:
    boot_id = read_boot_id()
    assert uuid.UUID(boot_id)
    assert load_instance(tmp_path, boot_id) == load_instance(tmp_path, boot_id)


def test_a_reboot_changes_it_and_leaves_one_file(tmp_path: Path) -> None:
    first = load_instance(tmp_path, "boot-1")
    assert load_instance(tmp_path, "boot-2") != first
    assert os.listdir(tmp_path) == ["instance.boot-2"]


def test_another_run_folder_has_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load_instance(tmp_path / "a", "boot") != load_instance(tmp_path / "b", "boot")


def test_a_damaged_file_is_a_fault_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "instance.boot").write_text("not a uuid")
    with pytest.raises(EnvironmentFault, match=r"instance\.boot"):
        load_instance(tmp_path, "boot")

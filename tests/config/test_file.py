# SPDX-License-Identifier: Apache-2.0
"""Files in ha-agent.conf's format; what `load` makes of them is in test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.config.file import Entry, Fault, drop_in_folder, drop_ins, parse, read_file
from ha_agent.errors import BadInput
from tests.config.test_layers import write


def test_a_line_that_cant_be_used_does_not_hide_the_others() -> None:
    faults: list[Fault] = []
    found = parse("[host]\nid = 1\nnonsense\n[nowhere]\nx = 1\n[log]\nlevel=debug\n", "f", faults)
    assert found == [
        Entry("host", "id", "1", "f:2", "id"),
        Entry("log", "level", "debug", "f:7", "level"),
    ]
    assert [fault.where for fault in faults] == ["f:3", "f:4"]


def test_drop_ins_are_sorted_and_hidden_ones_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    assert drop_ins(path) == []
    for name in ("20.conf", "10.conf", ".5.conf", "30.txt"):
        write(drop_in_folder(path) / name, "")
    assert [file.name for file in drop_ins(path)] == ["10.conf", "20.conf"]


def test_a_file_that_is_no_text_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_bytes(b"\n\xff")
    with pytest.raises(BadInput, match=r"c\.conf:2: is not UTF-8 text"):
        read_file(path)

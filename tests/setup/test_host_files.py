# SPDX-License-Identifier: Apache-2.0
"""Small files of a host: read, kept once, removed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.host_files import (
    MAX_BYTES,
    keep_copy,
    machine_id,
    read_file,
    remove_file,
)


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert read_file(path) is None
    path.write_bytes(b"x")
    assert read_file(path) == b"x"
    path.write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(BadInput, match="longer"):
        read_file(path)
    with pytest.raises(EnvironmentFault, match="can't be read"):
        read_file(tmp_path)


def test_a_copy_is_made_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.conf"
    assert keep_copy(path, "left") is None
    assert path.parent.is_dir()
    path.write_text("one")
    path.chmod(0o640)
    first = keep_copy(path, "left")
    assert first == path.with_name("a.conf.left-1")
    assert stat.S_IMODE(first.stat().st_mode) == 0o640
    assert keep_copy(path, "left") == first
    path.write_text("two")
    assert keep_copy(path, "left") == path.with_name("a.conf.left-2")
    assert first.read_text() == "one"
    assert keep_copy(path, "before-join") == path.with_name("a.conf.before-join-1")


def test_a_file_is_removed_and_may_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    remove_file(path)
    assert not path.exists()
    remove_file(path)
    remove_file(tmp_path / "no" / "folder")


def test_the_machine_id(tmp_path: Path) -> None:
    assert machine_id(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("abc\n")
    assert machine_id(tmp_path) == "abc"

# SPDX-License-Identifier: Apache-2.0
"""A file is read whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.bounded_file import read_bounded
from ha_agent.errors import BadInput


def test_as_long_as_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"1234")
    assert read_bounded(path, 4) == b"1234"


def test_one_byte_more_and_a_device(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    for name in (path, Path("/dev/zero")):
        with pytest.raises(BadInput, match="is longer than 4 bytes") as caught:
            read_bounded(name, 4)
        assert str(name) in str(caught.value)


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "f", 4)

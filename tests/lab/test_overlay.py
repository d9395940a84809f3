# SPDX-License-Identifier: Apache-2.0
"""A host's root: this machine's, with files and links on top, and folders that are hidden."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.overlay import make_root, take_root
from lab.ports import LabError
from lab.tools import mounts, must, unmount

pytestmark = [pytest.mark.root]
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("needs root")
    # An upper layer can't be inside of the lower one, which is this machine's root.
    must(["mount", "-t", "tmpfs", "ha-lab-test", str(tmp_path)])
    try:
        yield tmp_path / "host1"
    finally:
        take_root(tmp_path / "host1")
        unmount(tmp_path)
    assert str(tmp_path / "host1/root") not in mounts()


def test_what_is_seen_in_it(folder: Path) -> None:
    files = {"etc/hostname": "host1\n", "etc/new/file": "x"}
    links = {"etc/systemd/system/x.service": "/dev/null"}
    hidden = [str(CHECKOUT).lstrip("/"), "etc/systemd/system"]
    try:
        root = make_root(folder, files, links, hidden)
    except LabError as error:
        pytest.skip(f"no overlay of this machine's root: {error}")
    assert (root / "etc/hostname").read_text() == "host1\n"
    assert (root / "etc/new/file").read_text() == "x"
    assert (root / "etc/passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert os.listdir(root / str(CHECKOUT).lstrip("/")) == []
    assert os.listdir(root / "etc/systemd/system") == ["x.service"]
    (root / "etc/passwd").write_text("changed")
    assert Path("/etc/passwd").read_text() != "changed"
    take_root(folder)
    assert (folder / "upper/etc/passwd").read_text() == "changed"

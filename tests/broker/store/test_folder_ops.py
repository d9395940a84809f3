# SPDX-License-Identifier: Apache-2.0
"""Volumes of one kind, found in a mounted file domain."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from ha_agent.broker.store.folder_ops import find_folder_volumes
from ha_agent.errors import BadInput
from ha_agent.vdsm import file_domain


def make(parent: Path, *kinds: str) -> Path:
    path = file_domain.create_domain(parent, str(uuid.uuid4()), name="x")
    for kind in kinds:
        file_domain.create_volume(
            path, str(uuid.uuid4()), str(uuid.uuid4()), 4096, f"a {kind}", kind,
            created_at_seconds=0,
        )  # fmt: skip
    return path


def test_the_volume_by_its_disk_type_or_description(tmp_path: Path) -> None:
    domain = make(tmp_path, "HEMD", "HECI", "DATA")
    found = find_folder_volumes(str(domain), "HECI", "old")["domains"]
    assert list(found) == [domain.name]
    [[image, volume, path]] = found[domain.name]["volumes"]
    assert Path(path) == domain / "images" / image / volume
    assert found[domain.name]["path"] == str(domain)
    by_text = find_folder_volumes(str(tmp_path), "SCRD", "a DATA")["domains"]
    assert len(by_text[domain.name]["volumes"]) == 1


def test_all_domains_of_a_folder(tmp_path: Path) -> None:
    one, other = make(tmp_path, "HECI"), make(tmp_path, "DATA")
    (tmp_path / "something").mkdir()
    found = find_folder_volumes(str(tmp_path), "HECI", "old")["domains"]
    assert {name: len(told["volumes"]) for name, told in found.items()} == {
        one.name: 1,
        other.name: 0,
    }


def test_a_volume_that_can_not_be_told_about_hides_no_other(tmp_path: Path) -> None:
    domain = make(tmp_path, "HECI", "DATA")
    meta = next(p for p in domain.glob("images/*/*.meta") if "DISKTYPE=DATA" in p.read_text())
    meta.write_text("nonsense")
    told = find_folder_volumes(str(domain), "HECI", "old")["domains"][domain.name]
    assert len(told["volumes"]) == 1
    assert str(meta) in told["untold"][0]


def test_no_domain(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is it mounted"):
        find_folder_volumes(str(tmp_path), "HECI", "old")
    with pytest.raises(FileNotFoundError):
        find_folder_volumes(str(tmp_path / "gone"), "HECI", "old")

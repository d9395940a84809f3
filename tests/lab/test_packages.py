# SPDX-License-Identifier: Apache-2.0
"""Which package files are installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.packages import built_packages, needed_here, newest, package_of
from lab.ports import LabError


def test_a_name_says_what_it_is() -> None:
    package = package_of(Path("/d/python3-qemu.qmp_0.0.6-0+ha1_all.deb"))
    assert (package.name, package.version) == ("python3-qemu.qmp", "0.0.6-0+ha1")


@pytest.mark.parametrize("name", ["ha-agent.deb", "ha-agent_1.0.deb", "ha-agent_1.0_arm64.deb"])
def test_another_file_is_told(name: str) -> None:
    with pytest.raises(LabError, match="not named"):
        package_of(Path(name))


def test_of_each_the_last_that_was_made() -> None:
    names = ["a_1.0_all.deb", "b_1.0_all.deb", "a_1.1_all.deb"]
    packages = [package_of(Path(name)) for name in names]
    found = newest(packages, lambda package: names.index(package.path.name))
    assert [package.path.name for package in found] == ["a_1.1_all.deb", "b_1.0_all.deb"]


def test_a_folder_without_ours_says_how_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "other_1.0_all.deb").touch()
    with pytest.raises(LabError, match="make deb"):
        built_packages(tmp_path)
    old, new = tmp_path / "ha-agent_2.0_all.deb", tmp_path / "ha-agent_1.0_all.deb"
    for path, seconds in ((old, 100), (new, 200)):
        path.touch()
        os.utime(path, (seconds, seconds))
    assert new in [package.path for package in built_packages(tmp_path)]
    assert old not in [package.path for package in built_packages(tmp_path)]


def test_what_the_machine_needs_is_told_once() -> None:
    wanted = needed_here()
    assert {"python3-transitions", "systemd-container"} <= set(wanted)
    assert len(set(wanted)) == len(wanted)
    assert not [name for name in wanted if name.startswith("#")]

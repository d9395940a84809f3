# SPDX-License-Identifier: Apache-2.0
"""What root makes is usable by the daemons, which are not root."""

from __future__ import annotations

import os
import pwd
import tempfile
import threading
from pathlib import Path

import pytest

from ha_agent.vdsm_user import as_user, give, inherit, make_folder, vdsm_owner

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
SOMEBODY = (36, 36)


def owner_of(path: Path) -> tuple[int, int]:
    told = path.lstat()
    return told.st_uid, told.st_gid


def test_files_are_given_away_only_by_root_and_only_to_a_user_that_is_there() -> None:
    has_vdsm = any(entry.pw_name == "vdsm" for entry in pwd.getpwall())
    assert (vdsm_owner() is not None) == (has_vdsm and os.geteuid() == 0)


def test_without_an_owner_nothing_is_given(tmp_path: Path) -> None:
    before = owner_of(tmp_path)
    give(tmp_path, None)
    make_folder(tmp_path / "a" / "b", None)
    with as_user(None):
        (tmp_path / "a" / "b" / "c").touch()
    assert owner_of(tmp_path) == before
    assert (tmp_path / "a" / "b" / "c").exists()


@root
def test_a_folder_is_the_owners_with_those_above_it_that_were_missing(tmp_path: Path) -> None:
    before = owner_of(tmp_path)
    make_folder(tmp_path / "a" / "b", SOMEBODY, mode=0o750)
    assert owner_of(tmp_path) == before
    assert owner_of(tmp_path / "a") == owner_of(tmp_path / "a" / "b") == SOMEBODY
    os.chown(tmp_path / "a", 0, 0)
    make_folder(tmp_path / "a" / "b", SOMEBODY)
    assert owner_of(tmp_path / "a") == (0, 0)


@root
def test_a_link_is_given_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    give(tmp_path / "link", SOMEBODY)
    assert owner_of(tmp_path / "link") == SOMEBODY
    assert owner_of(tmp_path / "file")[0] == 0


@root
def test_what_root_makes_in_somebodys_folder_is_theirs(tmp_path: Path) -> None:
    os.chown(tmp_path, *SOMEBODY)
    (tmp_path / "file").touch()
    inherit(tmp_path / "file")
    assert owner_of(tmp_path / "file") == SOMEBODY


@root
def test_one_thread_is_somebody_and_the_others_stay_root() -> None:
    # Not in tmp_path: pytest's own folder is for root alone.
    with tempfile.TemporaryDirectory(prefix="ha-test-") as name:
        one_thread_is_somebody(Path(name))


def one_thread_is_somebody(tmp_path: Path) -> None:
    os.chown(tmp_path, *SOMEBODY)
    (tmp_path / "roots").mkdir(mode=0o700)
    refused: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with as_user(SOMEBODY):
            (tmp_path / "file").touch()
            try:
                (tmp_path / "roots" / "file").touch()
            except PermissionError as error:
                refused.append(str(error))
            inside.set()
            go_on.wait(20)
        (tmp_path / "roots" / "later").touch()

    thread = threading.Thread(target=work)
    thread.start()
    was_inside = inside.wait(20)
    (tmp_path / "other").touch()
    go_on.set()
    thread.join(20)
    assert was_inside
    assert len(refused) == 1
    assert owner_of(tmp_path / "file") == SOMEBODY
    assert owner_of(tmp_path / "other")[0] == owner_of(tmp_path / "roots" / "later")[0] == 0

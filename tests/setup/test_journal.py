# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.journal import open_journal
from ha_agent.setup.step import SetupRefused


def never() -> str:
    raise AssertionError("chosen twice")


def test_what_was_chosen_is_found_by_the_next_run(tmp_path: Path) -> None:
    with open_journal(tmp_path, "deploy", "nfs x:/he") as journal:
        assert journal.choose("sp_uuid", lambda: "first") == "first"
        # On disk before it is used: what dies now has still chosen.
        assert json.loads(journal.path.read_text())["values"] == {"sp_uuid": "first"}
    with open_journal(tmp_path, "deploy", "nfs x:/he") as journal:
        assert journal.choose("sp_uuid", never) == "first"
        assert journal.get("other") is None


def test_only_root_reads_it(tmp_path: Path) -> None:
    with open_journal(tmp_path, "deploy", "x") as journal:
        journal.note("a", "b")
        assert journal.path.stat().st_mode & 0o777 == 0o600
        assert journal.path.parent.stat().st_mode & 0o777 == 0o711


def test_a_second_set_up_of_the_host_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(SetupRefused, match="another set-up of this host")
    with open_journal(tmp_path, "deploy", "x"), refused:
        open_journal(tmp_path, "join", "x")
    open_journal(tmp_path, "join", "x").close()


def test_an_unfinished_set_up_is_not_gone_on_with_for_something_else(tmp_path: Path) -> None:
    with open_journal(tmp_path, "deploy", "other") as journal:
        journal.note("a", "b")  # chosen, and nothing done: given up without a word
    with open_journal(tmp_path, "deploy", "x") as journal:
        assert journal.get("a") is None
        journal.note("a", "b")
        journal.begin()
    for _ in range(2):  # and a refusal does not keep the lock
        with pytest.raises(SetupRefused, match="a deploy of x was begun and not finished"):
            open_journal(tmp_path, "deploy", "y")
    with open_journal(tmp_path, "deploy", "x") as journal:
        assert not journal.is_finished()
        journal.finish()
        assert journal.is_finished()
    with open_journal(tmp_path, "deploy", "y") as journal:
        assert journal.get("a") is None


@pytest.mark.parametrize("link", ["setup", "setup/lock"])
def test_root_is_not_led_elsewhere(tmp_path: Path, link: str) -> None:
    """The folder above is the daemons' user's, who may put anything under these names."""
    state, other = tmp_path / "state", tmp_path / "other"
    (state / link).parent.mkdir(parents=True)
    other.mkdir()
    (state / link).symlink_to(other if link == "setup" else other / "new")
    with pytest.raises(EnvironmentFault, match=r"symbolic link|is a link"):
        open_journal(state, "deploy", "x")
    assert list(other.iterdir()) == []


def test_to_read_changes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "absent", "deploy", "x", write=False)
    assert journal.get("a") is None
    with pytest.raises(EnvironmentFault, match="not open for writing"):
        journal.note("a", "b")
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"can't make .*file"):
        open_journal(tmp_path / "file", "deploy", "x")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no JSON"),
        ("[]", "no journal of deploy"),
        ('{"verb": "join"}', "no journal of deploy"),
        ('{"verb": "deploy", "format": 2}', "format 2 is not 1"),
        ('{"verb": "deploy", "format": 1}', "subject or finished is missing"),
        (
            '{"verb": "deploy", "format": 1, "subject": "x", "finished": true, "values": {"": 1}}',
            "values is no map of texts",
        ),
    ],
)
def test_a_file_that_is_no_journal_is_not_overwritten(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "setup/deploy.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(BadInput, match=what):
        open_journal(tmp_path, "deploy", "x")
    assert path.read_text() == text

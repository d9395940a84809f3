# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from ha_agent.setup.answers import Given, check
from ha_agent.setup.questions import ask, confirm


class FakeTerminal:
    """Answers by the beginning of the question, else with nothing: the default."""

    def __init__(self, **answers: str) -> None:
        self._answers = {
            name.replace("_", " "): iter(text.split("|")) for name, text in answers.items()
        }
        self.prompts: list[str] = []
        self.secret: list[str] = []
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, prompt: str, *, secret: bool) -> str:
        (self.secret if secret else self.prompts).append(prompt)
        for begin, texts in self._answers.items():
            if prompt.startswith(begin):
                return self._next(texts)
        return ""

    def _next(self, texts: Iterator[str]) -> str:
        try:
            return next(texts)
        except StopIteration:
            raise EOFError from None


def test_the_answers_of_a_person_are_enough() -> None:
    terminal = FakeTerminal(Where="server:/he", The_engine="e.example.org", Image_file="/i.raw")
    answers = check(ask({}, terminal))
    assert answers.text("storage_connection") == "server:/he"
    assert answers.text("definition") == "answers"
    assert terminal.prompts[0] == "What kind of storage is shared by the hosts? [nfs]: "
    assert not any("iSCSI" in prompt for prompt in terminal.prompts)


def test_an_answer_is_checked_at_once_and_asked_for_again() -> None:
    terminal = FakeTerminal(
        What_kind="floppy|?|localfs", Where="|/d", The_engine="e", Image_file="/i"
    )
    answers = check(ask({}, terminal))
    assert answers.text("storage_type") == "localfs"
    assert answers.text("storage_connection") == "/d"
    said = "\n".join(terminal.said)
    assert "expected one of nfs, " in said
    assert "localfs is a directory of this host" in said


def test_what_was_given_is_not_asked() -> None:
    given = {"storage_type": Given("localfs", "--x"), "engine_fqdn": Given("e", "f:1")}
    terminal = FakeTerminal(Where="/d", Image_file="/i")
    answers = ask(given, terminal)
    assert not any("storage is shared" in prompt for prompt in terminal.prompts)
    assert check(answers).text("storage_type") == "localfs"


def test_a_password_is_not_echoed() -> None:
    terminal = FakeTerminal(
        What_kind="iscsi", Where="192.0.2.1", What_is="iqn.x", CHAP_user="u", CHAP_pass="hush",
        GUIDs="3600a", How_do="sanlock", Block="/dev/x", The_engine="e", Image_file="/i",
    )  # fmt: skip
    assert check(ask({}, terminal)).text("iscsi_password") == "hush"
    assert terminal.secret == ["CHAP password?: "]


def test_the_end_of_input_ends_it() -> None:
    with pytest.raises(EOFError):
        ask({}, FakeTerminal(What_kind="floppy"))


def test_answers_that_contradict_each_other_are_asked_for_again() -> None:
    terminal = FakeTerminal(
        What_kind="nfs3|nfs", Where="server:/he", The_engine="e", Image_file="|/i"
    )
    answers = check(ask({}, terminal))
    assert answers.text("storage_type") == "nfs"
    assert answers.text("disk_image_file") == "/i"
    said = "\n".join(terminal.said)
    assert "lockfile does not work with storage_type = nfs3" in said
    assert "disk_image and disk_volume of one that is on the domain): once more" in said


def test_what_is_answered_and_has_no_place_any_more_is_left_out() -> None:
    terminal = FakeTerminal(
        What_kind="iscsi|nfs", Where="server:/he", What_is_the_name_IQN="x", The_engine="e",
        Image_file="/i", GUIDs="abc",
    )  # fmt: skip
    terminal._answers["What is the name (IQN)"] = iter(["iqn.x"])
    answers = check(ask({}, terminal))
    assert answers.text("storage_type") == "nfs"
    assert answers.text("iscsi_target") == ""


@pytest.mark.parametrize(("texts", "wanted"), [("yes", True), ("no", False), ("", False)])
def test_a_person_is_asked_before_anything_is_changed(texts: str, wanted: bool) -> None:
    given = {
        "storage_type": "fc", "lease_backend": "sanlock", "sanlock_path": "/dev/x/y",
        "luns": "abc,def", "engine_fqdn": "e", "disk_image_file": "/i",
    }  # fmt: skip
    answers = check({name: Given(text, "test") for name, text in given.items()})
    terminal = FakeTerminal()
    terminal._answers["\nSet up the hosted engine on fc now"] = iter(["maybe", texts])
    assert confirm(answers, terminal) is wanted
    assert any("All that is on abc, def will be lost" in text for text in terminal.said)

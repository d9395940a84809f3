# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from mutate import survivors
from mutate.targets import TARGETS

KEY = "ha_agent/fsm/x.py:f:a > 0 becomes a >= 0"


def test_a_line_is_a_key_and_a_reason() -> None:
    text = f"# a comment\n\n{KEY} -> it is the same: a is never 0 -> never\n"
    assert survivors.parse(text, "here") == {KEY: "it is the same: a is never 0 -> never"}


@pytest.mark.parametrize("line", [KEY, f"{KEY} -> ", "f -> why", f"{KEY} -> one\n{KEY} -> two"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(BadInput, match=r"here:\d"):
        survivors.parse(line, "here")


def test_what_is_caught_or_gone_is_told() -> None:
    reasons = {KEY: "same", "a:b:c": "same", "a:b:d": "same"}
    assert survivors.outdated(reasons, caught=[KEY], known=[KEY, "a:b:d"]) == [
        f"{KEY}: is caught now",
        "a:b:c: there is no such mutant any more",
    ]


def test_ours_can_be_read_and_are_of_files_that_are_mutated() -> None:
    """Whether each is still there, and survives, is what `make mutate` tells."""
    listed = survivors.parse(survivors.FILE.read_text(), survivors.FILE.name)
    assert {key.split(":")[0] for key in listed} <= {target.path for target in TARGETS}

# SPDX-License-Identifier: Apache-2.0
"""How several labs share the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.workers import Share, parse_share


def test_shares_are_all_of_the_work_once() -> None:
    work = list(range(7))
    shares = [Share(number, 3, Path("/x")).of(work) for number in range(3)]
    assert sorted(one for share in shares for one in share) == work
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_goes_over_the_command_line() -> None:
    share = Share(1, 2, Path("/a b/c:d"))
    assert parse_share(share.text()) == share


@pytest.mark.parametrize("text", ["", "1", "1/2x:/y", "a/2:/y"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse_share(text)

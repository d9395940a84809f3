# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from demo.patience import wait_for


class TooLate(Exception):
    pass


def test_what_is_found_late_is_found() -> None:
    looks = iter([None, None, 7])
    found = wait_for(lambda: next(looks), 60.0, "it is not there", error=TooLate, poll_seconds=0)
    assert found == 7


def test_what_does_not_come_is_named_with_its_limit() -> None:
    with pytest.raises(TooLate, match=r"^after 0 s it is not there$"):
        wait_for(lambda: None, 0.0, "it is not there", error=TooLate, poll_seconds=0.001)

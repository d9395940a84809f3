# SPDX-License-Identifier: Apache-2.0
"""What is a lab's leftover, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.clean import is_under

FOLDER = Path("/work/.lab-work")


@pytest.mark.parametrize(
    ("back_file", "expected"),
    [
        ("/work/.lab-work/lab/host1/storage/block.img", True),
        ("/work/.lab-work/lab/host1/storage/block.img (deleted)", True),
        ("/work/.lab-work-other/block.img", False),
        ("/other/.lab-work/lab/block.img", False),
        ("", False),
    ],
)
def test_a_loop_device_of_a_lab(back_file: str, expected: bool) -> None:
    assert is_under(back_file, FOLDER) is expected

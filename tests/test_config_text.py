# SPDX-License-Identifier: Apache-2.0
"""The configuration for people; test_config.py and test_config_legacy.py have the rest of it."""

from __future__ import annotations

from pathlib import Path

from ha_agent.config_text import MASK, Shown, shown, text_of
from tests.test_config import MINIMAL, load_text


def test_sections_are_aligned_each_by_itself_and_end_with_their_remark() -> None:
    values = [
        Shown("a", "x", "1", "default"),
        Shown("a", "longer", "2", "f:3"),
        Shown("b", "y", "", "default"),
    ]
    assert text_of(values, {"a": "# so"}) == (
        "[a]\nx = 1        # default\nlonger = 2   # f:3\n# so\n\n[b]\ny =    # default\n"
    )


def test_of_what_is_secret_only_that_it_is_set_is_told(tmp_path: Path) -> None:
    text = MINIMAL + "[notify]\nwebhook_secret_file = /etc/x\nwebhook_url = https://h/p\n"
    found = {value.key: value.text for value in shown(load_text(tmp_path, text))}
    assert found["webhook_secret_file"] == MASK
    assert found["smtp_password_file"] == ""

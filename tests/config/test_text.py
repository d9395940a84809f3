# SPDX-License-Identifier: Apache-2.0
"""The configuration for people; test_layers.py and test_legacy.py have the rest of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.config.layers import ConfigError
from ha_agent.config.text import MASK, Shown, shown, text_of
from tests.config.test_layers import MINIMAL, load_text


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


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("name=admin,secret=AQB==,noatime", f"name=admin,secret={MASK},noatime"),
        ("password=a b", f"password={MASK}"),
        ("secretfile=/etc/ceph/secret,soft", "secretfile=/etc/ceph/secret,soft"),
        ("", ""),
    ],
)
def test_a_key_among_the_mount_options_is_not_shown(tmp_path: Path, given: str, seen: str) -> None:
    """As CephFS's is, where secretfile= is not used."""
    config = load_text(tmp_path, f"{MINIMAL}domain_type = cephfs\nmount_options = {given}\n")
    assert config.storage.mount_options == given
    found = {value.key: value.text for value in shown(config)}
    assert found["mount_options"] == seen


@pytest.mark.parametrize("options", ["secret=AQB==,nolock", "secret=AQB==," + "x" * 255])
def test_faults_show_no_key_either(tmp_path: Path, options: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"{MINIMAL}mount_options = {options}\n")
    assert "mount_options" in str(caught.value)
    assert "AQB" not in str(caught.value)

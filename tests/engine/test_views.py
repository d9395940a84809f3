# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from ha_agent.engine.views import Host


@pytest.mark.parametrize(
    ("name", "expected"),
    [("id-1", True), ("alpha", True), ("192.0.2.7", True), ("alph", False), ("", False)],
)
def test_what_a_host_is_called(name: str, expected: bool) -> None:
    assert Host("id-1", "alpha", "192.0.2.7", "up", "cl").is_called(name) is expected

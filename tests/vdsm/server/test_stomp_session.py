# SPDX-License-Identifier: Apache-2.0
"""The heart-beat header as VDSM reads it; what a session does is tested in test_stomp_server."""

from __future__ import annotations

import pytest

from ha_agent.vdsm.server.stomp_session import parse_heart_beat

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("0,0", (0, 0)),
        ("500,300", (1000, 1000)),
        ("0,24000", (0, 24000)),
        ("5000", (0, 0)),
        ("", (0, 0)),
        ("a,b", (0, 0)),
        (" 2000 , 3000 ", (2000, 3000)),
        ("-5,0", (1000, 0)),
        (f"{'9' * 5000},0", (DAY_MS, 0)),
    ],
)
def test_a_heart_beat_header_is_never_an_error(header: str, read: tuple[int, int]) -> None:
    assert parse_heart_beat(header) == read

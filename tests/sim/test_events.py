# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import typing

from ha_agent.sim import events


def test_every_event_says_when() -> None:
    kinds = typing.get_args(events.Event)
    assert len(kinds) > 10
    for kind in kinds:
        first = next(iter(kind.__dataclass_fields__))
        assert first == "at_seconds", kind

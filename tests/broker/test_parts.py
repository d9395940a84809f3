# SPDX-License-Identifier: Apache-2.0
"""How the parts fit together; test_service.py runs them as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.parts import Parts
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import EnvironmentFault
from tests.small_config import NOWHERE, write_config


async def test_no_two_features_answer_the_same_verb(short_path: Path) -> None:
    parts = Parts(layers.load([write_config(short_path)], NOWHERE), SystemClock(), Access(0, None))
    verbs = [verb for feature in parts.features for verb in feature.handlers]
    assert len(verbs) == len(set(verbs))
    assert {"status", "snapshot", "lease.take", "ovf.put", "maintenance.set", "events"} <= set(
        verbs
    )
    for feature in parts.features:
        assert set(feature.deadlines_seconds) <= set(feature.handlers), feature.name


async def test_a_folder_that_can_not_be_made_is_named(short_path: Path) -> None:
    config = layers.load([write_config(short_path)], NOWHERE)
    (short_path / "run").write_text("a file is in the way")
    with pytest.raises(EnvironmentFault, match=f"{short_path}/run: File exists"):
        Parts(config, SystemClock(), Access(0, None))

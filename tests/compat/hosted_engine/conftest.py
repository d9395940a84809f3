# SPDX-License-Identifier: Apache-2.0
"""A deployed host with a played broker, and the command on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.hosted_engine.running import Here, environment
from tests.fake_broker import FakeBroker


@pytest.fixture
def here(
    folder: Path,
    broker: FakeBroker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Here:
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    return Here(folder, broker, capsys)

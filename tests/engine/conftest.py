# SPDX-License-Identifier: Apache-2.0
"""An engine that serves, and an import that can be run against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_model import Model
from tests.engine.engine_server import EngineServer, serving


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[EngineServer]:
    with serving(tmp_path, model) as running:
        yield running

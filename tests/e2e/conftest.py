# SPDX-License-Identifier: Apache-2.0
"""The hosts that most end-to-end tests begin with; a module may define its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.hosts import Host
from tests.e2e.lone import lone_host, no_tracebacks, twin_of


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        yield made
        no_tracebacks(made)


@pytest.fixture
def twin(host: Host) -> Iterator[Host]:
    """Another host on the same storage, with the id 2."""
    with twin_of(host, 2) as made:
        yield made
        no_tracebacks(made)

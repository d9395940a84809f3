# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fake_broker import FakeBroker
from tests.small_config import NOWHERE, write_config

# For the programs that tests start.
os.environ.update(NOWHERE)

# How long an example takes says more about the machine's load than about the code.
# scripts/test draws fewer examples on the other Pythons: the code is the same.
# `make test` draws the same examples each time, so that it says of a change what it says of it
# anywhere; `make sim` draws new ones, which is where new faults are looked for.
_EXAMPLES = int(os.environ.get("HA_TEST_EXAMPLES", "100"))
_DRAW_NEW = os.environ.get("HA_TEST_DRAW_NEW") == "1"
settings.register_profile(
    "ha-agent", deadline=None, max_examples=_EXAMPLES, derandomize=not _DRAW_NEW
)
settings.load_profile("ha-agent")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Scenarios compare their logs with files; `--update` writes these anew."""
    parser.addoption("--update", action="store_true", help="rewrite scenarios' expected.log")
    parser.addoption("--share", metavar="K/N", help="only the Kth of N shares, counted from 1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is in another share; by name, so that a test stays in its own."""
    share = config.getoption("--share")
    if share is None:
        return
    mine, shares = (int(number) for number in share.split("/"))
    if not 1 <= mine <= shares:
        raise pytest.UsageError(f"--share {share}: from 1/N to N/N")
    parts: list[list[pytest.Item]] = [[] for _ in range(shares)]
    for item in items:
        parts[zlib.crc32(item.nodeid.encode()) % shares].append(item)
    items[:] = parts.pop(mine - 1)
    config.hook.pytest_deselected(items=[item for part in parts for item in part])


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path so short that UNIX sockets fit in it; tmp_path's may be too long."""
    folder = Path(tempfile.mkdtemp(prefix="ha-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(short_path: Path) -> Path:
    """A folder with a small configuration, ha-agent.conf, whose broker is not there."""
    (short_path / "run").mkdir()
    write_config(short_path)
    return short_path


@pytest.fixture
def broker(folder: Path) -> Iterator[FakeBroker]:
    """A broker behind that configuration, whose answers a test writes."""
    made = FakeBroker(folder / "run" / "broker.socket")
    yield made
    made.close()

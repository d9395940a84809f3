# SPDX-License-Identifier: Apache-2.0
"""`ha-agent shared-config` as a process, on a broker whose answers a test writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_broker import FakeBroker, ha_agent
from tests.small_config import write_config

LISTED = {"files": [{"name": "vm.conf", "size_bytes": 12}], "notes": ["version is missing"]}


@pytest.fixture
def folder(short_path: Path) -> Path:
    (short_path / "run").mkdir()
    write_config(short_path)
    return short_path


@pytest.fixture
def broker(folder: Path) -> Iterator[FakeBroker]:
    made = FakeBroker(folder / "run" / "broker.socket")
    yield made
    made.close()


def test_list(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.list"] = (None, LISTED)
    done = ha_agent(folder, "shared-config", "list")
    assert (done.returncode, done.stdout) == (0, "    12 bytes  vm.conf\n! version is missing\n")


def test_get(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.get"] = (None, {"content": b"vmId=1\n"})
    done = ha_agent(folder, "shared-config", "get", "vm.conf")
    assert (done.returncode, done.stdout) == (0, "vmId=1\n")
    assert broker.asked == [("conf.get", {"name": "vm.conf"})]
    broker.answers["conf.get"] = (None, {})
    assert ha_agent(folder, "shared-config", "get", "vm.conf").returncode == 1


def test_put(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.put"] = (None, LISTED)
    path = folder / "new"
    path.write_bytes(b"vmId=2\n")
    done = ha_agent(folder, "shared-config", "put", "vm.conf", str(path))
    assert done.returncode == 0
    assert broker.asked == [("conf.put", {"name": "vm.conf", "content": b"vmId=2\n"})]

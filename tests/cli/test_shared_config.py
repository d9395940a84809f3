# SPDX-License-Identifier: Apache-2.0
"""`ha-agent shared-config` as a process, on a broker whose answers a test writes."""

from __future__ import annotations

from pathlib import Path

from tests.fake_broker import FakeBroker, ha_agent

LISTED = {"files": [{"name": "vm.conf", "size_bytes": 12}], "notes": ["version is missing"]}


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


def test_what_is_no_definition_is_put_as_it_is(folder: Path, broker: FakeBroker) -> None:
    """An empty broker.conf is one; it was refused as neither an OVF nor a vm.conf."""
    broker.answers["conf.put"] = (None, LISTED)
    path = folder / "new"
    for content in (b"", b"\xff\xfe[email]\0"):
        path.write_bytes(content)
        assert ha_agent(folder, "shared-config", "put", "broker.conf", str(path)).returncode == 0
    assert [params["content"] for _, params in broker.asked] == [b"", b"\xff\xfe[email]\0"]


def test_keys(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.keys"] = (None, {"keys": {"ha": ["local_maintenance"]}})
    done = ha_agent(folder, "shared-config", "keys", "--store", "ha")
    assert (done.returncode, done.stdout) == (0, "ha         local_maintenance\n")
    assert broker.asked == [("conf.keys", {"store": "ha"})]


def test_get_key(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.get_key"] = (None, {"key": "x", "store": "he_local", "value": "a=b"})
    done = ha_agent(folder, "shared-config", "get-key", "x")
    assert (done.returncode, done.stdout) == (0, "a=b\n")
    broker.answers["conf.get_key"] = (None, {"key": "x", "store": "he_local", "value": None})
    done = ha_agent(folder, "shared-config", "get-key", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "x is not set in he_local" in done.stderr
    told = {"code": "not_found", "message": "no key 'x'"}
    broker.answers["conf.get_key"] = (told, None)
    done = ha_agent(folder, "shared-config", "get-key", "x")
    assert done.returncode == 1
    assert "no key 'x'" in done.stderr


def test_set_key(folder: Path, broker: FakeBroker) -> None:
    broker.answers["conf.set_key"] = (None, {"key": "x", "store": "he_shared"})
    done = ha_agent(folder, "shared-config", "set-key", "x", "1", "--store", "he_shared")
    assert (done.returncode, done.stdout) == (0, "x is set in he_shared\n")
    ha_agent(folder, "shared-config", "set-key", "password", "-", stdin="se cret\nmore\n")
    assert [params for _, params in broker.asked] == [
        {"key": "x", "value": "1", "store": "he_shared"},
        {"key": "password", "value": "se cret"},
    ]

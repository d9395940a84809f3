# SPDX-License-Identifier: Apache-2.0
"""`ha-agent store` as a process, on a broker whose answers a test writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_broker import FakeBroker, ha_agent

OVF = Path(__file__).parents[1] / "data" / "engine_vm.ovf"
COPY = {"image_uuid": "i-1", "volume_uuid": "v-1", "usable": True, "sentences": ["updated now"]}


def test_list(folder: Path, broker: FakeBroker) -> None:
    broker.answers["store.list"] = (None, {"copies": [COPY], "problems": ["v-2: no answer"]})
    done = ha_agent(folder, "store", "list")
    assert done.returncode == 0
    assert "image i-1, volume v-1\n    updated now\n! v-2: no answer" in done.stdout
    as_json = ha_agent(folder, "store", "list", "--json")
    assert json.loads(as_json.stdout)["copies"] == [COPY]


def test_an_empty_store_says_what_to_do(folder: Path, broker: FakeBroker) -> None:
    broker.answers["store.list"] = (None, {"copies": [], "problems": []})
    assert "store create" in ha_agent(folder, "store", "list").stdout


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 1), (None, 1)])
def test_verify_tells_by_its_exit_code(
    folder: Path, broker: FakeBroker, good: object, code: int
) -> None:
    broker.answers["store.verify"] = (None, {"copies": [COPY], "good": good})
    assert ha_agent(folder, "store", "verify").returncode == code


def test_get_writes_the_bytes_as_they_are(folder: Path, broker: FakeBroker) -> None:
    broker.answers["ovf.get"] = (None, {"document": b"<ovf>\xc3\xa4\r\n</ovf>"})
    broker.answers["ovf.version"] = (None, {"document": b"<old/>"})
    command = [sys.executable, "-m", "ha_agent.cli", "--config", str(folder / "ha-agent.conf")]
    got = subprocess.run([*command, "store", "get"], capture_output=True, timeout=30, check=True)
    assert got.stdout == b"<ovf>\xc3\xa4\r\n</ovf>"
    assert ha_agent(folder, "store", "get", "--version", "2").stdout == "<old/>"


def test_put(folder: Path, broker: FakeBroker) -> None:
    copy = {"volume_uuid": "v-1", "written_bytes": 4096, "size_bytes": 20480}
    stored: dict[str, object] = {"identity": "0123456789ab", "copies": [copy], "codes": ["no_nic"]}
    stored["problems"] = ["volume v-1: no locks here"]
    broker.answers["ovf.put"] = (None, stored)
    done = ha_agent(folder, "store", "put", str(OVF), "--force")
    assert done.returncode == 0
    assert "copy v-1: 4096 bytes written" in done.stdout
    assert "no_nic" in done.stderr
    assert "note: volume v-1: no locks here" in done.stderr
    sent = {"document": OVF.read_bytes(), "force": True, "how": "put"}
    assert broker.asked == [("ovf.put", sent)]


def test_what_is_no_ovf_is_not_put(folder: Path, broker: FakeBroker) -> None:
    bad = folder / "bad.ovf"
    bad.write_bytes(OVF.read_bytes()[:1000])
    done = ha_agent(folder, "store", "put", str(bad), "--force")
    assert done.returncode == 1
    assert done.stderr.startswith(f"ha-agent: {bad}, line ")
    assert broker.asked == []


def test_a_vm_conf_is_not_put(folder: Path, broker: FakeBroker) -> None:
    conf = folder / "vm.conf"
    conf.write_text("vmId=1\n")
    done = ha_agent(folder, "store", "put", str(conf))
    assert done.returncode == 1
    assert "translate --to ovf" in done.stderr
    assert broker.asked == []


def test_create(folder: Path, broker: FakeBroker) -> None:
    broker.answers["store.create"] = (None, {"made": [COPY], "count": 2})
    done = ha_agent(folder, "store", "create")
    assert done.returncode == 0
    assert "made image i-1, volume v-1" in done.stdout

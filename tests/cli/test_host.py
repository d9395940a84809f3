# SPDX-License-Identifier: Apache-2.0
"""`ha-agent host` as a process, against a broker whose answers the test writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fake_broker import FakeBroker, ha_agent

BETA = {
    "host_id": 2, "host_name": "beta", "alive": True, "state": "EngineUp", "score": 3400,
    "version": "1.2.3", "age_seconds": 2.4, "maintenance": False, "owner": True,
    "host_id_state": "held", "problem": "",
}  # fmt: skip
BAD = {**BETA, "host_id": 3, "host_name": "", "alive": False, "age_seconds": None, "owner": False}
BAD.update(host_id_state="free", problem="slot 3: not a status block", version="")


def test_the_list(folder: Path, broker: FakeBroker) -> None:
    broker.answers["host.list"] = None, {"hosts": [BETA, BAD], "problem": ""}
    done = ha_agent(folder, "host", "list")
    assert done.returncode == 0
    header, beta, bad = done.stdout.splitlines()
    assert header.split()[:2] == ["ID", "NAME"]
    assert beta.split() == [
        "2", "beta", "EngineUp", "3400", "1.2.3", "2", "s", "ago", "no", "held", "owner",
    ]  # fmt: skip
    assert "gone" in bad
    assert bad.endswith("slot 3: not a status block")
    done = ha_agent(folder, "host", "list", "--json")
    assert json.loads(done.stdout)["hosts"][0] == BETA


def test_a_removal_and_its_refusal(folder: Path, broker: FakeBroker) -> None:
    broker.answers["host.remove"] = None, {"removed": "beta"}
    done = ha_agent(folder, "host", "remove", "2")
    assert (done.returncode, done.stdout) == (0, "host 2 is removed (beta)\n")
    assert broker.asked == [("host.remove", {"host_id": 2})]
    why = "nothing was removed: host 2 (beta) lives: it wrote its block 3 s ago"
    broker.answers["host.remove"] = {"code": "refused", "message": why}, None
    done = ha_agent(folder, "host", "remove", "2")
    assert done.returncode == 1
    assert why in done.stderr


def test_what_is_no_host_id(folder: Path, broker: FakeBroker) -> None:
    assert ha_agent(folder, "host", "remove", "0").returncode == 2
    assert broker.asked == []

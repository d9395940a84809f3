# SPDX-License-Identifier: Apache-2.0
"""`ha-agent lockspace` as a process, against a broker whose answers the test writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fake_broker import FakeBroker, ha_agent

HOST = {
    "host_id": 2, "host_name": "beta", "daemon": "b", "state": "live", "age_seconds": 3.2,
    "is_renewal_age": True, "generation": 4, "io_timeout_seconds": 10,
    "dead_after_seconds": 140.0, "problem": "",
}  # fmt: skip


def answer(verdict: str, problem: str = "", wait: float = 0.0, **host: Any) -> dict[str, Any]:
    space = {
        "kind": "ownership", "name": "ha-agent", "path": "/x", "readable": verdict != "unknown",
        "problem": problem, "owner": "held by host 2 (beta), epoch 7", "wait_seconds": wait,
        "hosts": [{**HOST, **host}],
    }  # fmt: skip
    return {"verdict": verdict, "daemon": "", "problems": [], "spaces": [space]}


@pytest.mark.parametrize(("verdict", "code"), [("fine", 0), ("problem", 1), ("unknown", 2)])
def test_the_exit_code_tells_the_verdict(
    folder: Path, broker: FakeBroker, verdict: str, code: int
) -> None:
    broker.answers["lockspace.check"] = None, answer(verdict, "" if code == 0 else "bad")
    assert ha_agent(folder, "lockspace", "check").returncode == code
    done = ha_agent(folder, "lockspace", "check", "--json")
    assert done.returncode == code
    assert json.loads(done.stdout)["verdict"] == verdict


def test_who_holds_what(folder: Path, broker: FakeBroker) -> None:
    broker.answers["lockspace.check"] = None, answer("fine")
    told = ha_agent(folder, "lockspace", "check").stdout
    assert "owner: held by host 2 (beta), epoch 7" in told
    assert "live     beta, renewed 3 s ago, generation 4, I/O timeout 10 s" in told


def test_a_repair_watches_until_it_is_proved(folder: Path, broker: FakeBroker) -> None:
    left = [answer("problem", "bad", 0.01, state="unknown")] * 2 + [answer("problem", "bad")]
    broker.answers["lockspace.check"] = lambda _params: (None, left.pop(0))
    broker.answers["lockspace.repair"] = None, {"done": ["/x: made anew"]}
    done = ha_agent(folder, "lockspace", "repair", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "/x: made anew\n")
    assert done.stderr.count("watching /x: ") == 2
    assert broker.asked[-1] == ("lockspace.repair", {"dry_run": True})


def test_a_live_host_is_refused_at_once(folder: Path, broker: FakeBroker) -> None:
    broker.answers["lockspace.check"] = None, answer("problem", "bad", 140.0)
    why = {"code": "refused", "message": "nothing was written: host id 2 (beta) is live"}
    broker.answers["lockspace.repair"] = why, None
    done = ha_agent(folder, "lockspace", "repair")
    assert done.returncode == 1
    assert "host id 2 (beta) is live" in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""`ha-agent version` and `config show` as processes, against a played broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent import __version__
from tests.fake_broker import FakeBroker, ha_agent


def test_version_tells_of_both(folder: Path, broker: FakeBroker) -> None:
    broker.answers["version"] = (
        None,
        {
            "version": "9.8",
            "api_version": 3,
            "verbs": ["config", "status"],
            "features": ["core"],
            "connections": 2,
        },
    )
    done = ha_agent(folder, "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"ha-agent {__version__}",
        "broker 9.8, verbs of version 3",
        "features: core",
        "verbs: config, status",
        "connections: 2",
    ]


def test_the_configuration_of_the_broker_that_runs(folder: Path, broker: FakeBroker) -> None:
    value = {"section": "host", "key": "name", "text": "beta", "origin": "/etc/x:3"}
    broker.answers["config"] = (None, {"files": [], "values": [value]})
    done = ha_agent(folder, "config", "show", "--running")
    assert (done.returncode, done.stdout) == (0, "[host]\nname = beta   # /etc/x:3\n")
    broker.answers["config"] = (None, {"files": [], "values": [{"a": 1}]})
    done = ha_agent(folder, "config", "show", "--running")
    assert (done.returncode, "broker.config.values" in done.stderr) == (1, True)


def test_the_configuration_of_the_files_needs_no_broker(folder: Path, broker: FakeBroker) -> None:
    done = ha_agent(folder, "config", "show")
    assert done.returncode == 0
    assert "[host]" in done.stdout
    assert broker.asked == []


def test_the_predecessors_keys_and_what_is_wrong_are_told(
    folder: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HA_AGENT_HOST_ROOT", str(folder))
    path = folder / "etc/ovirt-hosted-engine/hosted-engine.conf"
    path.parent.mkdir(parents=True)
    path.write_text("host_id=7\nmine=1\n")
    done = ha_agent(folder, "config", "show", "--predecessor")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr, lines[0]) == (0, "", str(path))
    assert lines[1].startswith("1 host_id [host] id (but ")
    done = ha_agent(folder, "config", "check")
    told = f"! {path}:2: mine: not known, and not used"
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, told)
    path.write_text("bridge=a b\nnonsense\nha_agent_x=1\n")
    done = ha_agent(folder, "config", "check")
    assert done.returncode == 2
    assert f"{path}:2: is not KEY=VALUE" in done.stderr
    assert broker.asked == []

# SPDX-License-Identifier: Apache-2.0
"""The agent as a process, with neither broker nor VDSM there: it waits, and says for what."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ha_agent import maintenance_file
from ha_agent.agent import policy_of
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.decision_codec import decode
from ha_agent.decision_file import read_ring
from ha_agent.fsm.machine import Fsm
from ha_agent.fsm.policy import ScoreWeights
from ha_agent.fsm.state import State
from ha_agent.replay import replay
from tests.small_config import NOWHERE, write_config

CLOCK = SystemClock()


class Process:
    def __init__(self, config_path: Path) -> None:
        self.log = config_path.with_suffix(".log")
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "ha_agent.cli", "--config", str(config_path), "run"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def says(self, text: str) -> None:
        ends_at = CLOCK.now() + 20
        while text not in self.log.read_text():
            assert CLOCK.now() < ends_at, self.log.read_text()
            assert self.popen.poll() is None, self.log.read_text()
            CLOCK.block(0.05)

    def end(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(10)


@pytest.fixture
def start(short_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []
    path = write_config(short_path, "[agent]\ntick_interval_seconds = 0.1\n")

    def one() -> Process:
        started.append(Process(path))
        return started[-1]

    yield one
    for process in started:
        process.popen.kill()
        process.popen.wait(10)


def test_it_waits_for_broker_and_vdsm_and_stops_when_told(start: Callable[[], Process]) -> None:
    process = start()
    process.says("is ha-broker running?")
    process.says("VDSM at 127.0.0.1:1")
    assert process.end() == 0
    assert "Traceback" not in process.log.read_text()


def test_a_second_one_is_refused_and_a_killed_one_leaves_no_lock(
    start: Callable[[], Process],
) -> None:
    first = start()
    first.says("is ha-broker running?")
    second = start()
    assert second.popen.wait(20) == 1
    assert f"runs already, pid {first.popen.pid}" in second.log.read_text()
    first.popen.kill()
    first.popen.wait(10)
    third = start()
    CLOCK.block(0.5)
    assert third.popen.poll() is None


def test_a_changed_configuration_is_taken_or_refused(
    start: Callable[[], Process], short_path: Path
) -> None:
    process = start()
    process.says("is ha-broker running?")
    path = short_path / "ha-agent.conf"
    good = path.read_text()
    path.write_text(good + "[score]\nbasis = 1\n")
    process.says("the old one stays")
    path.write_text(good + "[score]\nbase = 3000\n")
    process.says("are in use now")
    assert process.end() == 0


def test_a_changed_file_of_the_predecessor_is_taken_and_its_maintenance_once(
    start: Callable[[], Process], short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HA_AGENT_HOST_ROOT", str(short_path))
    conf = short_path / "etc/ovirt-hosted-engine/hosted-engine.conf"
    theirs = short_path / "var/lib/ovirt-hosted-engine-ha/ha.conf"
    for path, text in ((conf, "mine=1\n"), (theirs, "local_maintenance_manual=True\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    process = start()
    process.says(f"ha.conf made from {theirs}")
    process.says(f"configuration: {conf}:1: mine: not known")
    process.says("is ha-broker running?")
    ours = short_path / "state" / "ha.conf"
    assert maintenance_file.read(ours).by_operator
    conf.write_text("ha_agent_score_basis=3000\n")
    process.says(
        f"{conf}:1: unknown key 'ha_agent_score_basis'; did you mean ha_agent_score_base?"
    )
    conf.write_text("ha_agent_score_base=3000\n")
    process.says("are in use now")
    assert process.end() == 0
    maintenance_file.write(ours, maintenance_file.LocalMaintenance())
    process.log.write_text("")
    again = start()
    again.says("is ha-broker running?")
    assert again.end() == 0
    assert not maintenance_file.read(ours).active


def test_the_policy_is_the_configurations(short_path: Path) -> None:
    path = write_config(short_path, "[score]\nretry = 77\n[restart]\nbackoff_seconds = 0, 2\n")
    settings = layers.load([path], NOWHERE)
    policy = policy_of(settings)
    assert policy.restart_backoff_seconds == (0.0, 2.0)
    assert policy.takeover_step_seconds == settings.lease.takeover_step_seconds
    assert policy.weights.retry == 77
    for weight in dataclasses.fields(ScoreWeights):
        assert getattr(policy.weights, weight.name) == getattr(settings.score, weight.name)
    path = write_config(short_path, "[score]\nsamples_needed = 4\nresidency_seconds = 7\n")
    settings = layers.load([path], NOWHERE)
    rules = policy_of(settings).hysteresis
    assert (rules.samples_needed, rules.residency_seconds) == (4, 7.0)
    for name in ("samples_kept", "network_enter", "network_leave", "cpu_load_leave"):
        assert getattr(rules, name) == getattr(settings.score, name)


def test_decisions_are_kept_and_can_be_replayed(
    start: Callable[[], Process], short_path: Path
) -> None:
    process = start()
    process.says("is ha-broker running?")
    assert process.end() == 0
    records, problems = read_ring(short_path / "state" / "decisions")
    assert problems == []
    first = decode(records[0][1], where=records[0][0])
    assert (first.state, first.host_id) == (State.START, 1)
    assert all(
        not replay(Fsm(), decode(data, where=where), where).differences for where, data in records
    )

# SPDX-License-Identifier: Apache-2.0
"""The broker as a process, without storage and without VDSM: it serves, and says what fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.rpc import call as rpc_call
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from tests.small_config import write_config

CLOCK = SystemClock()
LIMIT_SECONDS = 20.0
NETWORK = """\
[network]
test = tcp
address = 127.0.0.1
port = 1
interval_seconds = 0.1
"""


class Process:
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "run" / "broker.socket"
        self.log = folder / "broker.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ha_agent.broker.service"),
                    *("--config", str(folder / "ha-agent.conf")),
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, method: str, **params: Any) -> Any:
        """Call it, from the moment on at which it serves."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while True:
            try:
                return rpc_call.call_once(str(self.socket), method, params, 5, clock=CLOCK)
            except EnvironmentFault:
                assert CLOCK.now() < ends_at, self.log.read_text()
                assert self.popen.poll() is None, self.log.read_text()
                CLOCK.block(0.05)

    def status_when(self, *path: str) -> Any:
        """Return status as soon as there is something at `path` in it."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while True:
            found = status = self.ask("status")
            for name in path:
                found = found[name]
            if found:
                return status
            assert CLOCK.now() < ends_at, status
            CLOCK.block(0.05)


@pytest.fixture
def broker(short_path: Path) -> Iterator[Process]:
    write_config(short_path, NETWORK)
    process = Process(short_path)
    yield process
    process.popen.kill()
    process.popen.wait(10)


def test_it_says_what_is_missing_and_ends_when_told(broker: Process, short_path: Path) -> None:
    status = broker.status_when("storage", "problem")
    assert (status["host_id"], status["host_name"]) == (1, "alpha")
    assert status["lease"]["state"] == "unknown"
    assert not status["definition"]["available"]
    broker.status_when("lease", "detail")
    broker.popen.send_signal(signal.SIGTERM)
    assert broker.popen.wait(15) == 0
    assert "Traceback" not in broker.log.read_text()
    assert not broker.socket.exists()


def test_the_network_is_tested_and_the_share_that_was_lost_told(broker: Process) -> None:
    status = broker.status_when("network", "share_lost")
    assert status["network"]["share_lost"] == 1.0
    assert "refused" in status["network"]["detail"]


def test_the_engines_page_is_asked_only_where_the_vm_is(broker: Process) -> None:
    now = CLOCK.now().boottime_seconds
    report = {"made_at": now, "watch_engine": True, "score": 5}
    broker.ask("publish", report=report)
    status = broker.status_when("health", "detail")
    assert status["health"]["health"] == "bad"
    assert status["agent"]["score"] == 5
    broker.ask("publish", report={**report, "watch_engine": False})
    assert broker.ask("status")["health"]["health"] == "unknown"


def test_a_second_one_leaves_the_first_its_socket(broker: Process, short_path: Path) -> None:
    assert broker.ask("version")["api_version"] == 1
    second = subprocess.run(
        [*(sys.executable, "-m", "ha_agent.broker.service"), *broker.popen.args[3:]],  # type: ignore[index]
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 1
    assert "another process answers on it" in second.stderr
    assert "Traceback" not in second.stderr
    assert broker.ask("version")["api_version"] == 1


def test_it_tells_what_happened_and_why(broker: Process, short_path: Path) -> None:
    broker.status_when("storage", "problem")
    assert "has not reported" in broker.ask("explain")["troubles"][0]
    report = {"state": "EngineDown", "made_at": CLOCK.now().boottime_seconds}
    event = {"kind": "state", "text": "This host: x.", "serial": 7, "at_unix_seconds": 1.0}
    broker.ask("publish", report={**report, "events": [event]})
    broker.ask("publish", report={**report, "events": [event]})
    told = broker.ask("events", since=0, wait_seconds=5)["events"]
    assert [one["text"] for one in told if one["serial"]] == ["This host: x."]
    assert broker.ask("status")["agent"]["events"] == []
    assert broker.ask("explain")["here"]["state"] == "EngineDown"
    broker.popen.send_signal(signal.SIGTERM)
    assert broker.popen.wait(15) == 0
    assert "This host: x." in (short_path / "state" / "events.jsonl").read_text()

# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine` as a process, before a broker whose answers a test writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.broker.snapshot import (
    DefinitionEntry,
    HostEntry,
    LeaseEntry,
    Report,
    Snapshot,
    to_wire,
)
from ha_agent.compat.hosted_engine.cli import main
from ha_agent.instant import Instant
from tests.fake_broker import FakeBroker
from tests.small_config import VM

NOW = Instant(5000.0)
UP = {"vm": "up", "health": "good", "detail": "Up"}
GONE = {
    "vm": "down_missing",
    "health": "bad",
    "detail": "unknown",
    "reason": "vm not running on this host",
}
EXTRA = """\
metadata_parse_version=1
metadata_feature_version=1
timestamp=4262 (Sat Jan 16 11:58:40 2021)
host-id=1
score=3400
vm_conf_refresh_time=4262 (Sat Jan 16 11:58:40 2021)
conf_on_shared_storage=True
maintenance=False
state=EngineUp
stopped=False
"""
FIRST = HostEntry(
    1,
    "h1.example.com",
    alive=True,
    score=3400,
    engine_status=UP,
    state="EngineUp",
    timestamp_seconds=4262,
    local_conf_timestamp_seconds=4262,
    crc32="8b9b1f7e",
    extra=EXTRA,
    changed_at=NOW - 1,
)
SECOND = replace(
    FIRST,
    host_id=2,
    host_name="h2.example.com",
    engine_status=GONE,
    state="EngineDown",
    extra="host-id=2\nstate=EngineDown\n",
)
PICTURE = Snapshot(
    version=1,
    host_id=1,
    host_name="h1.example.com",
    vm_uuid=VM,
    made_at=NOW,
    lease=LeaseEntry("held", ours=True, host_id=1, host_name="h1.example.com", epoch=1),
    hosts=(FIRST, SECOND),
    global_maintenance=False,
    definition=DefinitionEntry(available=True, identity="be763bb45689", vm_name="HostedEngine"),
    agent=Report(state="EngineUp", engine_status=UP, made_at=NOW - 1),
)


def conf_path(folder: Path) -> Path:
    """Return where the host whose root is `folder` has its hosted-engine.conf."""
    return folder / "etc/ovirt-hosted-engine/hosted-engine.conf"


def deployed(folder: Path, more: str = "") -> None:
    """Write the hosted-engine.conf of a host where all is set up."""
    path = conf_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"fqdn=engine.example.com\nvmid={VM}\n{more}")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment that has all files in `folder`."""
    return {
        **os.environ,
        "HA_AGENT_CONFIG": str(folder / "ha-agent.conf"),
        "HA_AGENT_HOST_ROOT": str(folder),
        "TZ": "UTC",
        **more,
    }


def hosted_engine(
    folder: Path, *words: str, more: Optional[Mapping[str, str]] = None, module: str = "cli"
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", f"ha_agent.compat.hosted_engine.{module}", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(folder, **(more or {})),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def shows(broker: FakeBroker, picture: Snapshot, **others: Any) -> None:
    """Have the broker answer with this picture, and to each other verb with what is given."""
    broker.answers["status"] = (None, to_wire(picture))
    for name, result in others.items():
        broker.answers[name.replace("__", ".")] = result


def refusal(message: str, code: str = "refused") -> tuple[dict[str, str], None]:
    """Return the broker's answer that says no."""
    return ({"code": code, "message": message}, None)


class Here:
    """The command in this process, which is quicker: for what is not about bytes and processes."""

    def __init__(
        self, folder: Path, broker: FakeBroker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.broker = broker
        self._capsys = capsys
        deployed(folder)
        shows(broker, PICTURE)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        self.broker.asked.clear()
        code = main(words)
        out, err = self._capsys.readouterr()
        return code, out, err

    def asked(self) -> list[tuple[str, Any]]:
        """Return what was asked for since the last command began, but for looks."""
        return [call for call in self.broker.asked if call[0] != "status"]

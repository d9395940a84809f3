# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.guard_log import say
from ha_agent.instant import Instant
from ha_agent.journal_messages import FENCED

DEADLINE = FenceDeadline("vm-1", "boot-1", Instant(5.0), 7)


def test_a_line_goes_to_the_log_and_with_its_id_to_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        say("ending VM vm-1", FENCED, DEADLINE, journal=path)
        got = journald.recv(65536).decode().splitlines()
    assert set(got) == {
        "MESSAGE=ending VM vm-1",
        f"MESSAGE_ID={FENCED.id}",
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=ha-fence-guard",
        "HA_VM_ID=vm-1",
        "HA_EPOCH=7",
    }
    assert capsys.readouterr().err == "ha-agent fence: ending VM vm-1\n"


def test_a_journald_that_takes_nothing_does_not_hold_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        for number in range(1000):
            say(f"line {number}", journal=path)
    say("and none at all", journal=path)
    assert capsys.readouterr().err.count("\n") == 1001


def test_a_broker_without_systemd_leaves_the_journal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        journald.setblocking(False)
        say("ending VM vm-1", FENCED, DEADLINE, journal=path)
        with pytest.raises(BlockingIOError):
            journald.recv(65536)

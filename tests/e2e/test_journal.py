# SPDX-License-Identifier: Apache-2.0
"""What the daemons send to a real journald, and that they never wait for one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from demo.hosts import PROGRAMS, Host
from ha_agent.broker.lease.fence_deadline import DEADLINE_NAME
from ha_agent.journal_messages import MESSAGES
from tests.e2e.lone import eventually, lone_host, says
from tests.e2e.real_journald import Journald, real_journald

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(300)]

RECORDS = 2000
# Makes a file when all of its records are sent, and says one more at the end of its stdin.
TALKER = f"""
import logging, pathlib, sys
from ha_agent import log
log.setup("debug", "talker", context={{"host_id": 3}})
for number in range({RECORDS}):
    logging.getLogger("talker").debug("record %d", number)
pathlib.Path(sys.argv[1]).touch()
sys.stdin.read()
logging.getLogger("talker").info("last", extra=log.fields(x="two\\nlines"))
"""


@pytest.fixture
def journald() -> Iterator[Journald]:
    with real_journald() as made:
        yield made


def talker(journald: Journald, sent: Path) -> subprocess.Popen[bytes]:
    """Start a process whose stderr is the journal's, as systemd gives it to a service."""
    return journald.service(sys.executable, "-c", TALKER, str(sent), stdin=subprocess.PIPE)


def finish(speaker: subprocess.Popen[bytes]) -> None:
    assert speaker.stdin is not None
    speaker.stdin.close()
    assert speaker.wait(60) == 0


def all_there(journald: Journald) -> Optional[bool]:
    entries = [one["MESSAGE"] for one in journald.entries("SYSLOG_IDENTIFIER=talker")]
    return entries == [*(f"record {number}" for number in range(RECORDS)), "last"] or None


def begin_daemon(journald: Journald, host: Host, name: str) -> None:
    words = [str(PROGRAMS / name), "--config", str(host.config)]
    host.daemons[name] = journald.service(
        *(*words, *(["run"] if name == "ha-agent" else [])),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env=host.environ,
    )


def test_the_daemons_records_have_ids_and_fields_and_are_explained(journald: Journald) -> None:
    with lone_host() as host:
        host.start(["ha-vdsm"])
        begin_daemon(journald, host, "ha-broker")
        begin_daemon(journald, host, "ha-agent")
        says(host, "EngineStarting")

        def told(name: str) -> Optional[dict[str, str]]:
            found = journald.entries(f"MESSAGE_ID={MESSAGES[name].id}")
            return found[-1] if found else None

        started = eventually(lambda: told("VM_STARTED"), "the VM's start is not told")
        taken = eventually(lambda: told("LEASE_TAKEN"), "the lease is not told")
        changed = eventually(lambda: told("STATE_CHANGED"), "no state is told")
        begun = {one["SYSLOG_IDENTIFIER"] for one in journald.entries("HA_HOST_ID=1")}
        for entry in (started, taken, changed):
            assert entry["HA_HOST_ID"] == "1"
            assert entry["HA_VM_ID"] == host.domain.vm_uuid
        assert begun == {"ha-agent", "ha-broker"}
        assert taken["HA_EPOCH"] == "1"
        assert taken["_COMM"] == "ha-broker"
        assert changed["HA_PREV_STATE"].startswith(("Start", "Engine"))
        assert changed["HA_REASON"]
        assert int(changed["HA_SCORE"]) > 0
        assert started["HA_STATE"] == "EngineStart"
        match = f"MESSAGE_ID={MESSAGES['LEASE_TAKEN'].id}"
        text = journald.done("journalctl", "--no-pager", "-x", "-o", "verbose", match)
        assert f"HA_VM_ID={host.domain.vm_uuid}" in text
        text = journald.done("journalctl", "--no-pager", "-x", match)
        assert "Subject: This host took the lease, epoch 1" in text
        assert "Host id 1 owns the engine VM from now on." in text


def test_the_lease_is_renewed_while_journald_takes_nothing(journald: Journald) -> None:
    with lone_host("[log]\nlevel = debug\n") as host:
        host.start(["ha-vdsm"])
        begin_daemon(journald, host, "ha-broker")
        begin_daemon(journald, host, "ha-agent")
        says(host, "EngineStarting", "epoch 1")

        def fence_at() -> float:
            text = (host.folder / "run" / DEADLINE_NAME).read_text()
            return float(json.loads(text)["fence_at"])

        journald.process.send_signal(signal.SIGSTOP)
        # Longer than the lease's life: a broker that waited for its log would have lost it.
        end = fence_at() + 8.0
        eventually(lambda: fence_at() > end, "the lease is not renewed")
        says(host, "EngineStarting", "epoch 1")
        for name in ("ha-broker", "ha-agent"):
            assert host.daemons[name].poll() is None
        journald.process.send_signal(signal.SIGCONT)


def test_a_journald_that_is_stopped_holds_nobody_and_costs_no_record(
    journald: Journald, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    journald.process.send_signal(signal.SIGSTOP)
    speaker = talker(journald, sent)
    try:
        eventually(sent.exists, "it waits for a journald that is stopped")
        journald.process.send_signal(signal.SIGCONT)
        finish(speaker)
        eventually(lambda: all_there(journald), "records are missing")
    finally:
        speaker.kill()
        speaker.wait(30)
    [last] = journald.entries("MESSAGE=last")
    assert (last["HA_X"], last["HA_HOST_ID"]) == ("two\nlines", "3")


def test_records_of_the_time_without_a_journald_come_later(
    journald: Journald, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    journald.process.send_signal(signal.SIGSTOP)  # the talker begins with a stream of the old one
    speaker = talker(journald, sent)
    try:
        eventually(sent.exists, "it waits for a journald that is stopped")
        journald.end()
        journald.begin()
        finish(speaker)
        eventually(lambda: all_there(journald), "records are missing")
    finally:
        speaker.kill()
        speaker.wait(30)

# SPDX-License-Identifier: Apache-2.0
"""`ha-agent cluster` as a process, against a broker whose answers the test writes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.snapshot import HostEntry, LeaseEntry, OrderEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from tests.fake_broker import FakeBroker, ha_agent

UP = {"vm": "up", "health": "good"}
ORDER = OrderEntry(7, "shutdown", "root", 1, "h1", in_force=True)
ONE = HostEntry(1, "h1", alive=True, order_seen=7)
TWO = HostEntry(2, "h2", alive=True, score=3400)
PICTURE = Snapshot(
    version=1,
    host_id=1,
    host_name="h1",
    vm_uuid="vm",
    made_at=Instant(1000.0),
    hosts=(ONE, TWO),
    lease=LeaseEntry("held", host_id=2, host_name="h2"),
    global_maintenance=True,
    order=ORDER,
)
SET = "cluster.order"
TOLD = "the shutdown is ordered: global maintenance is on"


def play(broker: FakeBroker, *pictures: Snapshot) -> None:
    """Answer each question for the status with the next, the last one again and again."""
    left = list(pictures)

    def status(_params: Any) -> Any:
        return None, to_wire(left.pop(0) if len(left) > 1 else left[0])

    broker.answers = {SET: (None, {}), "status": status}


def asked(broker: FakeBroker) -> list[dict[str, Any]]:
    return [params for method, params in broker.asked if method == SET]


def test_a_shutdown_is_followed_to_its_end(folder: Path, broker: FakeBroker) -> None:
    told = replace(TWO, order_seen=7, other_vms=1)
    alone = replace(TWO, order_seen=7, other_vms=0, engine_status=UP)
    stopping = replace(alone, state="EngineStop")
    gone = replace(alone, engine_status={"vm": "down_missing"})
    play(
        broker,
        PICTURE,
        *(replace(PICTURE, hosts=(ONE, two)) for two in (told, alone, stopping, stopping, gone)),
        replace(PICTURE, hosts=(ONE, gone), lease=LeaseEntry("free")),
    )
    done = ha_agent(folder, "cluster", "shutdown", "--yes", "--reason", "new switch")
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(broker) == [{"what": "shutdown", "now": False, "reason": "new switch"}]
    assert done.stdout.splitlines() == [
        TOLD,
        "waits for h2 to take notice",
        "waits for 1 other VM on h2 to end",
        "the engine VM on h2 is about to be stopped",
        "the engine VM is stopping on h2",
        "waits for h2 to give the lease back",
        "the cluster is shut down: hosts may be powered off",
    ]


def test_a_wait_has_an_end(folder: Path, broker: FakeBroker) -> None:
    play(broker, PICTURE)
    done = ha_agent(folder, "cluster", "shutdown", "--yes", "--within", "0.1")
    assert done.returncode == 1
    assert "not done within 0.1 s: waits for h2 to take notice" in done.stderr


@pytest.mark.parametrize("within", ["nan", "inf", "0", "-3", "soon"])
def test_a_wait_without_an_end_is_refused(folder: Path, broker: FakeBroker, within: str) -> None:
    done = ha_agent(folder, "cluster", "resume", f"--within={within}")
    assert done.returncode == 2
    assert broker.asked == []


def test_an_interrupted_wait_says_what_stays(folder: Path, broker: FakeBroker) -> None:
    play(broker, PICTURE)
    config = ("--config", str(folder / "ha-agent.conf"))
    with subprocess.Popen(
        [sys.executable, "-m", "ha_agent.cli", *config, "cluster", "shutdown", "--yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        while "waits for" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "what was ordered stays ordered" in said


def test_an_order_that_somebody_takes_back_ends_the_wait(folder: Path, broker: FakeBroker) -> None:
    play(broker, PICTURE, replace(PICTURE, order=replace(ORDER, in_force=False)))
    done = ha_agent(folder, "cluster", "shutdown", "--yes")
    assert done.returncode == 1
    assert "not in force any more" in done.stderr


def test_without_a_wait(folder: Path, broker: FakeBroker) -> None:
    play(broker, PICTURE)
    done = ha_agent(folder, "cluster", "shutdown", "--yes", "--now", "--no-wait")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, TOLD)
    assert broker.asked == [(SET, {"what": "shutdown", "now": True})]


def test_without_a_terminal_nothing_blocks_and_nothing_is_done(
    folder: Path, broker: FakeBroker
) -> None:
    done = ha_agent(folder, "cluster", "shutdown")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert broker.asked == []


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 1), ("\n", 1), ("\x04", 1)])
def test_on_a_terminal_it_asks(folder: Path, broker: FakeBroker, answer: str, code: int) -> None:
    play(broker, PICTURE)
    ours, theirs = pty.openpty()
    config = str(folder / "ha-agent.conf")
    words = [sys.executable, "-m", "ha_agent.cli", "--config", config]
    try:
        os.write(ours, answer.encode())
        done = subprocess.run(
            [*words, "cluster", "shutdown", "--no-wait"],
            stdin=theirs,
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert len(broker.asked) == (1 if code == 0 else 0)


def test_resume_waits_for_the_engine(folder: Path, broker: FakeBroker) -> None:
    off = replace(PICTURE, global_maintenance=False, order=None)
    starting, up = replace(TWO, state="EngineStart"), replace(TWO, engine_status=UP)
    play(broker, off, *(replace(off, hosts=(ONE, two)) for two in (starting, up)))
    done = ha_agent(folder, "cluster", "resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(broker) == [{"what": "none"}]
    assert done.stdout.splitlines() == [
        "global maintenance is off",
        "the hosts have not started the engine VM yet",
        "the engine VM starts on h2",
        "the engine VM runs on h2, healthy",
    ]


def test_resume_without_a_wait(folder: Path, broker: FakeBroker) -> None:
    play(broker, PICTURE)
    done = ha_agent(folder, "cluster", "resume", "--no-wait", "--reason", "done")
    assert (done.returncode, done.stdout) == (0, "global maintenance is off\n")
    assert broker.asked == [(SET, {"what": "none", "reason": "done"})]


def test_a_refusal_is_exit_code_1(folder: Path, broker: FakeBroker) -> None:
    refusal = {"code": "storage", "message": "not set: EIO", "details": {}}
    broker.answers[SET] = (refusal, None)
    assert ha_agent(folder, "cluster", "resume").returncode == 1
    assert ha_agent(folder, "cluster", "shutdown", "--yes").returncode == 1

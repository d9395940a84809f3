# SPDX-License-Identifier: Apache-2.0
"""SIGHUP to the real daemons: the same processes with new settings, and the VM never stops."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hosts import Host
from ha_agent.broker.rpc.call import call_once
from tests.e2e.lone import CLOCK, done, eventually, lone_host, no_tracebacks, says

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

DAEMONS = ("ha-vdsm", "ha-broker", "ha-agent")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lone_host() as made:
        made.start()
        says(made, "Lease: held by host1", "(EngineStarting)")
        eventually(lambda: qemu_of(made), "no QEMU")
        yield made
        no_tracebacks(made)


def qemu_of(host: Host) -> list[int]:
    """Return the pids of the host's VM."""
    found = []
    for pid in host.pids():
        try:
            comm = Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue
        found += [pid] if comm.startswith("qemu") else []
    return found


def picture(host: Host, **waiting: Any) -> dict[str, Any]:
    path = str(host.folder / "run" / "broker.socket")
    found: dict[str, Any] = call_once(path, "status", waiting, 60.0, clock=CLOCK)
    return found


def logged(host: Host, daemon: str, text: str, times: int = 1) -> bool:
    return (host.folder / f"{daemon}.log").read_text().count(text) >= times


def hang_up(host: Host, daemon: str) -> None:
    host.daemons[daemon].send_signal(signal.SIGHUP)


def change(host: Host, old: str, new: str) -> None:
    text = host.config.read_text()
    assert old in text
    host.config.write_text(text.replace(old, new))


BEGUN = {"ha-agent": "agent of host 1 begins", "ha-broker": "serves at", "ha-vdsm": "listening on"}


def test_a_reload_is_a_new_beginning_of_the_same_process(host: Host) -> None:
    qemu, before = qemu_of(host), picture(host)["lease"]
    done(host, "config", "show")
    host.config.write_text(host.config.read_text() + "[log]\nlevel = debug\n")
    for daemon in DAEMONS:
        begun = (host.folder / f"{daemon}.log").read_text().count(BEGUN[daemon])
        hang_up(host, daemon)
        again = functools.partial(logged, host, daemon, BEGUN[daemon], begun + 1)
        eventually(again, f"no second beginning of {daemon}")
        assert host.daemons[daemon].poll() is None
    says(host, "Lease: held by host1", "(EngineStarting)")
    assert "level = debug" in done(host, "config", "show", "--running")
    after = picture(host)["lease"]
    # The same ownership: renewed under the same epoch, and neither given up nor taken anew.
    assert (after["epoch"], after["ours"], after["state"]) == (before["epoch"], True, "held")
    assert qemu_of(host) == qemu
    # Peers saw no stop, so none of them counted this host out.
    assert "AgentStopped" not in done(host, "events")


def test_who_waits_is_answered_and_who_comes_meanwhile_served(host: Host) -> None:
    qemu = qemu_of(host)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        version = picture(host)["version"]
        waiting = pool.submit(picture, host, since_version=version, wait_seconds=60.0)
        CLOCK.block(0.3)
        begun = (host.folder / "ha-broker.log").read_text().count(BEGUN["ha-broker"])
        hang_up(host, "ha-broker")
        assert waiting.result(60)["host_id"] == 1
    eventually(lambda: logged(host, "ha-broker", BEGUN["ha-broker"], begun + 1), "no beginning")
    says(host, "Lease: held by host1", "(EngineStarting)")
    assert qemu_of(host) == qemu


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_faulty_file_is_told_whole_and_changes_nothing(host: Host, daemon: str) -> None:
    text, qemu, pid = host.config.read_text(), qemu_of(host), host.daemons[daemon].pid
    begun = (host.folder / f"{daemon}.log").read_text().count(BEGUN[daemon])
    try:
        host.config.write_text(text + "[sanlock]\nno_such_key = 1\nprofile = x\n")
        hang_up(host, daemon)
        eventually(lambda: logged(host, daemon, "not reloaded"), "nothing is told")
        for fault in ("no_such_key", "profile = x"):
            assert logged(host, daemon, fault)
    finally:
        host.config.write_text(text)
    assert (host.folder / f"{daemon}.log").read_text().count(BEGUN[daemon]) == begun
    assert os.path.exists(f"/proc/{pid}")
    assert qemu_of(host) == qemu


def test_another_host_id_takes_a_stop_and_a_start(host: Host) -> None:
    before = picture(host)["lease"]["epoch"]
    change(host, "[host]\nid = 1\n", "[host]\nid = 7\n")
    try:
        hang_up(host, "ha-broker")
        told = "id = 7: the daemon that runs has 1"
        eventually(lambda: logged(host, "ha-broker", told), "nothing is told")
    finally:
        change(host, "[host]\nid = 7\n", "[host]\nid = 1\n")
    assert picture(host)["lease"]["epoch"] == before


def test_a_stop_goes_before_a_reload(host: Host) -> None:
    qemu = qemu_of(host)
    agent = host.daemons["ha-agent"]
    agent.send_signal(signal.SIGHUP)
    agent.send_signal(signal.SIGTERM)
    eventually(lambda: agent.poll() is not None, "it goes on")
    # By itself, or by the signal in the moment between two lives.
    assert agent.poll() in (0, -signal.SIGTERM)
    assert qemu_of(host) == qemu

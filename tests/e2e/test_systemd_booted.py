# SPDX-License-Identifier: Apache-2.0
"""A host that boots, with our units: up by itself, shut in, not root, and the VM never stops.

Everything is looked at as an administrator sees it: `systemctl`, `ha-agent status`, the journal.
The tests go on from each other's host, in this order; what ends the VM stands last.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ha_agent.journal_messages import DAEMON_STOPPED
from lab.tools import wait_until
from tests.e2e.booted import CLOCK, VDSM, BootedHost, booted_host

pytestmark = [
    pytest.mark.booted,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(900),  # the container is waited for, in a queue
]

AGENT, BROKER, VDSM_UNIT = "ha-agent.service", "ha-broker.service", "ha-vdsm.service"
SERVICES = (AGENT, BROKER, VDSM_UNIT)
DAEMONS_SEEN = {
    AGENT: "EngineUp, score ",
    BROKER: "lease held, definition ",
    VDSM_UNIT: "VMs: 1",
}
LIMIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def host() -> Iterator[BootedHost]:
    with booted_host() as made:
        made.watchdog_seconds(8)
        yield made


@pytest.fixture
def vm(host: BootedHost) -> Iterator[int]:
    """The VM's pid, the same before and after."""
    healthy(host)
    [before] = host.qemu()
    yield before
    healthy(host)
    assert host.qemu() == [before]


def eventually(host: BootedHost, look: Callable[[], bool], missing: str) -> None:
    try:
        wait_until(look, LIMIT_SECONDS, missing)
    except Exception as error:
        # Not --lines: with --since these are the first ones.
        told = host.journal_text(0, "--output=short-precise")
        pytest.fail(f"{error}\n{told[-12000:]}")


def healthy(host: BootedHost) -> None:
    """Wait until all units run and say so, and the engine is up."""

    def look() -> bool:
        units = [host.unit(name) for name in SERVICES]
        return all(
            unit.active == "active" and DAEMONS_SEEN[unit.name] in unit.status for unit in units
        )

    eventually(host, look, "not all units are up")


def has_said(host: BootedHost, unit: str, text: str) -> bool:
    return text in host.journal_text(0, f"--unit={unit}")


def times_stopped(host: BootedHost, unit: str) -> int:
    only = (f"--unit={unit}", f"MESSAGE_ID={DAEMON_STOPPED.id}", "--output=cat")
    return len(host.journal_text(0, *only).splitlines())


def status_of(pid: int, *names: str) -> list[list[str]]:
    """Return fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    return [fields[name] for name in names]


def leader(host: BootedHost, unit: str) -> int:
    """Return the pid of a unit's main process, as this machine has it."""
    inner = str(host.unit(unit).main_pid)
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if status_of(int(name), "NSpid")[0][1:] == [inner] and host.has_process(int(name)):
                return int(name)
    raise AssertionError(f"{unit} has no process")


def test_it_comes_up_by_itself(host: BootedHost) -> None:
    healthy(host)
    assert len(host.qemu()) == 1
    told = host.must("ha-agent", "status")
    for text in ("Lease: held by host1", "(EngineUp)", "127.0.0.1 answers"):
        assert text in told
    assert host.run("systemctl", "is-failed", "ha-*").returncode != 0
    for alias, unit in (("ovirt-ha-agent", AGENT), ("ovirt-ha-broker", BROKER)):
        assert host.must("systemctl", "show", "--value", "-p", "Id", alias).strip() == unit


def test_agent_and_broker_are_not_root_and_can_do_no_more_than_said(host: BootedHost) -> None:
    kill_and_ping = f"{(1 << 5) | (1 << 13):016x}"  # capability.h: CAP_KILL, CAP_NET_RAW
    may = {AGENT: "0" * 16, BROKER: kill_and_ping}
    for unit, capabilities in may.items():
        pid = leader(host, unit)
        names = ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
        uids, effective, bounding, no_new, seccomp = status_of(pid, *names)
        assert uids == [str(VDSM)] * 4
        assert (effective, bounding) == ([capabilities], [capabilities])
        assert (no_new, seccomp) == (["1"], ["2"])
    assert status_of(leader(host, VDSM_UNIT), "Uid")[0][0] == "0"
    [qemu] = host.qemu()
    assert status_of(qemu, "Uid")[0][0] == "0"
    for pid in host.pids("ha-io"):
        assert status_of(pid, "Uid")[0][0] == str(VDSM)


@pytest.mark.parametrize("unit", [AGENT, BROKER])
def test_what_they_could_reach_as_systemd_has_it(host: BootedHost, unit: str) -> None:
    command = ("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)
    analyzed = host.run(*command)
    assert analyzed.returncode == 0, analyzed.stdout[-600:] + analyzed.stderr


def test_files_are_theirs_and_closed_to_others(host: BootedHost) -> None:
    for name in ("var/lib/ha-agent", "var/lib/ha-agent/definitions"):
        assert (host.root / name).stat().st_uid == VDSM, name
    # Root's, since the embedded VDSM is root and obeys it; readable to us, and to nobody else.
    config = host.root / "etc/ha-agent/ha-agent.conf"
    assert (config.stat().st_uid, config.stat().st_gid) == (0, 0)
    assert config.stat().st_mode & 0o007 == 0
    for user, group, may in (("vdsm", "kvm", True), ("nobody", "kvm", False)):
        words = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "cat")
        assert (host.run(*words, "/etc/ha-agent/ha-agent.conf").returncode == 0) is may, user
    told = host.must("stat", "-c", "%u:%g:%a", "/run/ha-agent", "/run/ha-agent-vdsm")
    assert told.split() == [f"{VDSM}:{VDSM}:755", "0:0:700"]


def test_people_are_told_and_keys_are_set(host: BootedHost, vm: int) -> None:
    sent = host.run("ha-agent", "notify", "test")
    assert (sent.returncode, "FAILED" in sent.stdout) == (0, False), sent.stdout + sent.stderr
    # The guard's capabilities are none of a site's program.
    who, may, *_message = (host.root / "var/lib/ha-agent/told").read_text().splitlines()
    assert (who, may.split()) == (str(VDSM), ["CapEff:", "0" * 16])
    host.must("ha-agent", "shared-config", "set-key", "--store", "he_local", "gateway", "10.9.8.7")
    conf = host.root / "etc/ovirt-hosted-engine/hosted-engine.conf"
    assert "gateway=10.9.8.7" in conf.read_text()
    assert conf.stat().st_uid == VDSM
    host.must("ha-agent", "maintenance", "global")
    host.must("ha-agent", "maintenance", "none")


@pytest.mark.parametrize("unit", SERVICES)
def test_killed_restarted_reloaded_stopped(host: BootedHost, vm: int, unit: str) -> None:
    before, was = leader(host, unit), host.unit(unit).main_pid
    os.kill(before, signal.SIGKILL)
    # For a moment systemd does not know yet that it is gone.
    gone = (0, was)
    eventually(host, lambda: host.unit(unit).main_pid not in gone, f"{unit} does not come back")
    healthy(host)
    assert leader(host, unit) != before
    assert host.qemu() == [vm]
    host.must("systemctl", "restart", unit, deadline_seconds=90)
    healthy(host)
    assert host.qemu() == [vm]
    before, told = leader(host, unit), times_stopped(host, unit)
    host.must("systemctl", "reload", unit, deadline_seconds=90)
    eventually(host, lambda: has_said(host, unit, "reload: beginning anew"), "no reload")
    healthy(host)
    assert leader(host, unit) == before
    assert times_stopped(host, unit) == told  # nobody is told to start it again
    assert host.qemu() == [vm]
    # The agent's next call would start the broker again.
    socket = ["ha-broker.socket"] if unit == BROKER else []
    host.must("systemctl", "stop", *socket, unit, deadline_seconds=90)
    CLOCK.block(2.0)
    assert host.unit(unit).active == "inactive"
    assert times_stopped(host, unit) == told + 1
    assert host.qemu() == [vm]
    host.must("systemctl", "start", unit, deadline_seconds=90)


def test_all_of_it_stopped_and_started(host: BootedHost, vm: int) -> None:
    host.must("systemctl", "stop", *SERVICES, deadline_seconds=90)
    CLOCK.block(2.0)
    assert host.qemu() == [vm]
    host.must("systemctl", "start", *SERVICES, deadline_seconds=90)


def test_faulty_files_are_told_and_change_nothing(host: BootedHost, vm: int) -> None:
    config = host.root / "etc/ha-agent/ha-agent.conf"
    text = config.read_text()
    pids = [leader(host, unit) for unit in SERVICES]
    try:
        config.write_text(f"{text}[nonsense]\nx = 1\n")
        host.must("systemctl", "reload", *SERVICES, deadline_seconds=90)
        for unit in SERVICES:
            look = functools.partial(
                has_said, host, unit, "not reloaded, the configuration in use"
            )
            eventually(host, look, f"{unit} says nothing")
    finally:
        config.write_text(text)
    assert [leader(host, unit) for unit in SERVICES] == pids


def test_a_loop_that_hangs_is_ended_and_the_vm_goes_on(host: BootedHost, vm: int) -> None:
    hung = {unit: leader(host, unit) for unit in (AGENT, VDSM_UNIT)}
    for pid in hung.values():
        os.kill(pid, signal.SIGSTOP)

    def ended() -> bool:
        return all("watchdog" in host.journal_text(0, f"--unit={unit}").lower() for unit in hung)

    eventually(host, ended, "systemd does not look")
    healthy(host)
    for unit, pid in hung.items():
        assert leader(host, unit) != pid
    assert host.qemu() == [vm]


def test_who_calls_while_the_broker_is_away_waits(host: BootedHost, vm: int) -> None:
    host.must("systemctl", "kill", "--signal=SIGKILL", "--kill-who=main", BROKER)
    assert "This host: host1 (id 1)" in host.must("ha-agent", "status", "--timeout", "60")


def test_a_broker_that_hangs_costs_the_vm_and_not_the_host(host: BootedHost) -> None:
    """The guard is not root, and ends QEMU, which is."""
    # As the units have it, later than the guard: sooner, the broker is back before its deadline.
    host.watchdog_seconds(30)
    host.must("systemctl", "restart", BROKER, deadline_seconds=90)
    healthy(host)
    [vm] = host.qemu()
    os.kill(leader(host, BROKER), signal.SIGSTOP)
    eventually(host, lambda: vm not in host.qemu(), "the guard does nothing")
    eventually(host, lambda: bool(host.qemu()), "the VM does not come back")
    healthy(host)

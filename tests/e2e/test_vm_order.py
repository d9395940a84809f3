# SPDX-License-Identifier: Apache-2.0
"""`vm start` and `vm stop` through real daemons and QEMU, under the embedded VDSM."""

from __future__ import annotations

import json
import subprocess

import pytest

from demo.hosts import PROGRAMS, Host
from tests.e2e.lone import done, eventually, failed, no_tracebacks, says, twin_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DAEMONS = ("ha-vdsm", "ha-broker", "ha-agent")


def qemus(host: Host) -> list[int]:
    """Return the host's QEMU processes."""
    found = []
    for pid in host.pids():
        name = subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        if name.startswith("qemu"):
            found.append(pid)
    return found


def shutdown_asked(host: Host) -> bool:
    """Tell whether the embedded VDSM was told to shut the VM down."""
    [record] = (host.folder / "run-vdsm").glob("*/vm.json")
    asked = json.loads(record.read_text())["is_shutdown_asked"]
    assert isinstance(asked, bool)
    return asked


def under_maintenance(host: Host) -> None:
    """Set it, and wait until the agents have taken notice."""
    done(host, "maintenance", "global")
    says(host, "GlobalMaintenance")


def test_a_stop_by_force_a_start_and_who_stands_in_the_way(host: Host) -> None:
    host.start(DAEMONS)
    says(host, "starts on host1")
    assert "set global maintenance first" in failed(host, "vm", "stop")
    assert len(qemus(host)) == 1
    under_maintenance(host)
    # A disk without a system does not hear the power button: force overtakes patience.
    command = [str(PROGRAMS / "ha-agent"), "--config", str(host.config), "vm", "stop"]
    patient = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        says(host, "ordered the VM to be stopped")
        assert "another order" in failed(host, "vm", "start")
        assert "is stopped" in done(host, "vm", "stop", "--force")
        assert "overtaken" in patient.communicate(timeout=30)[1]
    finally:
        patient.kill()
        patient.wait(10)
        if patient.stderr is not None:
            patient.stderr.close()
    assert qemus(host) == []
    says(host, "Lease: free")
    assert "does not run on this host" in failed(host, "vm", "stop", "--force")
    with twin_of(host, 2) as twin:
        twin.start(DAEMONS)
        says(twin, "(GlobalMaintenance)", "Lease: free")
        assert "runs here" in done(twin, "vm", "start")
        assert (len(qemus(twin)), qemus(host)) == (1, [])
        says(host, "Lease: held by twin")  # it reads the record once in a while
        assert "(twin) holds the lease" in failed(host, "vm", "start")
        assert "does not run on this host" in failed(host, "vm", "stop")
        assert "is stopped" in done(twin, "vm", "stop", "--force")
        says(host, "Lease: free")
        assert "here, paused" in done(twin, "vm", "start", "--paused")
        says(host, "Lease: held by twin")
        assert "(twin) holds the lease" in failed(host, "vm", "start")
        assert "can't shut down" in failed(twin, "vm", "stop")
        assert "runs here" in done(twin, "vm", "resume")
        assert "not paused" in failed(twin, "vm", "resume")
        assert (len(qemus(twin)), qemus(host)) == (1, [])
        assert "is stopped" in done(twin, "vm", "stop", "--force")
        says(host, "Lease: free")
        no_tracebacks(twin)
    assert qemus(host) == []


def test_daemons_that_die_in_the_middle_of_an_order(host: Host) -> None:
    host.start(DAEMONS)
    says(host, "starts on host1")
    under_maintenance(host)
    command = [str(PROGRAMS / "ha-agent"), "--config", str(host.config), "vm", "stop"]
    patient = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        says(host, "ordered the VM to be stopped")
        # What the agent is about to do is shown before it is done.
        eventually(lambda: shutdown_asked(host), "VM.shutdown has not come")
        for name in ("ha-broker", "ha-agent"):
            process = host.daemons.pop(name)
            process.kill()
            process.wait(10)
        assert "Traceback" not in patient.communicate(timeout=30)[1]
        assert patient.returncode != 0
    finally:
        patient.kill()
        patient.wait(10)
        if patient.stderr is not None:
            patient.stderr.close()
    host.start(["ha-broker"])
    eventually(lambda: "does not report" in failed(host, "vm", "start"), "no word of the agent")
    host.start(["ha-agent"])
    says(host, "GlobalMaintenance")
    # The order is not remembered: the VM, which has ignored it, is as it was.
    eventually(lambda: "already, and stopping" in failed(host, "vm", "start"), "another answer")
    assert len(qemus(host)) == 1
    assert "is stopped" in done(host, "vm", "stop", "--force")
    assert qemus(host) == []
    says(host, "Lease: free")
    assert "runs here" in done(host, "vm", "start")
    assert len(qemus(host)) == 1

# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine` on a host with real daemons, storage and QEMU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from demo.hosts import Host
from tests.e2e.lone import lone_host, no_tracebacks, says

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.timeout(300)]

DAEMONS = ("ha-vdsm", "ha-broker", "ha-agent")
# Labels in the predecessor's order, each with 35 columns.
LABELS = (
    "Host ID",
    "Host timestamp",
    "Score",
    "Engine status",
    "Hostname",
    "Local maintenance",
    "stopped",
    "crc32",
    "conf_on_shared_storage",
    "local_conf_timestamp",
    "Status up-to-date",
)
EXTRA = (
    "metadata_parse_version",
    "metadata_feature_version",
    "timestamp",
    "host-id",
    "score",
    "vm_conf_refresh_time",
    "conf_on_shared_storage",
    "maintenance",
    "state",
    "stopped",
)


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        yield made
        no_tracebacks(made)


def hosted_engine(host: Host, *words: str) -> tuple[int, str, str]:
    """Run the command to its end; returns exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "ha_agent.compat.hosted_engine.cli", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "HA_AGENT_CONFIG": str(host.config),
            "HA_AGENT_HOST_ROOT": str(host.folder),
        },
        timeout=240,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def slot_0(host: Host) -> bytes:
    storage = host.domain
    volume = storage.path / "images" / storage.status_image / storage.status_volume
    return volume.read_bytes()[:4096].rstrip(b"\0")


def test_a_day_with_it(host: Host) -> None:
    assert hosted_engine(host, "--check-deployed")[0] == 0
    assert hosted_engine(host, "--vm-status", "--json")[0] == 1
    host.start(DAEMONS)
    says(host, "starts on host1")
    code, text, err = hosted_engine(host, "--vm-status")
    assert (code, err) == (0, "")
    lines = text.split("\n")
    assert lines[:4] == ["", "", "--== Host host1 (id: 1) status ==--", ""]
    end = 4 + len(LABELS)
    assert [line[:37] for line in lines[4:end]] == [f"{label:35}: " for label in LABELS]
    assert lines[end] == "Extra metadata (valid at timestamp):"
    extra = [line.partition("=")[0] for line in lines[end + 1 : -1]]
    assert extra[: len(EXTRA)] == [f"\t{key}" for key in EXTRA]
    date = r"\ttimestamp=\d+ \([A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\)"
    assert re.fullmatch(date, lines[end + 3])

    assert hosted_engine(host, "--set-maintenance", "--mode=local")[0] == 1
    assert "set global maintenance first" in hosted_engine(host, "--vm-shutdown")[2]
    assert hosted_engine(host, "--set-maintenance", "--mode=global") == (0, "", "")
    assert slot_0(host) == b"maintenance=1"
    says(host, "GlobalMaintenance")
    assert json.loads(hosted_engine(host, "--vm-status", "--json")[1])["global_maintenance"]

    code, out, _ = hosted_engine(host, "--vm-start")
    assert (code, out.startswith("VM exists and its status is ")) == (1, True)
    code, _, err = hosted_engine(host, "--add-console-password", "--password=secret")
    assert (code, "no vnc console" in err) == (1, True), err  # this VM has none
    assert hosted_engine(host, "--vm-poweroff") == (0, "", "")
    code, out, _ = hosted_engine(host, "--console")
    assert (code, out) == (1, "The engine VM is not on this host\n")
    code, out, err = hosted_engine(host, "--vm-start-paused")
    assert (code, out.splitlines()[-1]) == (0, "VM in WaitForLaunch"), err
    assert hosted_engine(host, "--vm-start-paused")[:2] == (
        1,
        "VM exists and its status is Paused\n",
    )
    code, out, err = hosted_engine(host, "--vm-start")
    assert (code, out.splitlines()) == (
        0,
        ["VM exists and is Paused, cleaning up and restarting", "VM in WaitForLaunch"],
    ), err
    assert hosted_engine(host, "--vm-poweroff")[0] == 0

    code, out, err = hosted_engine(host, "--get-shared-config", "local_maintenance", "--type=ha")
    assert (code, out) == (0, "\nlocal_maintenance : False, type : ha\n\n"), err
    code, out, err = hosted_engine(host, "--get-shared-config", "no_such", "--type=ha")
    assert (code, out) == (1, "")
    assert err.splitlines()[:2] == ["Invalid configuration key no_such.", "Available keys are:"]

    code, _, err = hosted_engine(host, "--reinitialize-lockspace")
    assert (code, "with an active agent" in err) == (1, True)
    code, out, err = hosted_engine(host, "--reinitialize-lockspace", "--force")
    assert (code, "nothing to repair" in out) == (0, True), err
    assert hosted_engine(host, "--clean-metadata")[0] == 1
    assert hosted_engine(host, "--clean-metadata", "--host-id=2")[0] == 0
    assert hosted_engine(host, "--set-maintenance", "--mode=none") == (0, "", "")
    assert slot_0(host) == b"maintenance=0"
    says(host, "starts on host1")

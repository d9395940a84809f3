# SPDX-License-Identifier: Apache-2.0
"""What a host is told by programs; and one that really boots, with the packages installed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.clean import only_lab
from lab.cluster import ROOT, LabCluster
from lab.host import LabHost, inner_pid, parse_unit
from lab.packages import DIST, Package, built_packages, install, needed_here
from lab.plan import LabPlan
from lab.ports import LabError
from lab.tools import call

SHOWN = """\
Id=ha-agent.service
ActiveState=active
SubState=running
MainPID=528
NRestarts=2
StatusText=EngineUp: score 3400, a=b
"""


def test_a_unit_as_systemctl_shows_it() -> None:
    unit = parse_unit("ha-agent.service", SHOWN)
    assert (unit.active, unit.sub, unit.main_pid, unit.restarts) == ("active", "running", 528, 2)
    assert unit.status == "EngineUp: score 3400, a=b"


@pytest.mark.parametrize("text", ["", "MainPID=\nNRestarts=[not set]\n", "nonsense"])
def test_what_systemctl_does_not_say_is_unknown(text: str) -> None:
    unit = parse_unit("x.service", text)
    assert (unit.active, unit.main_pid, unit.restarts) == ("unknown", 0, 0)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("NSpid:\t812\t1\n", 1), ("NSpid:\t812\n", 0), ("NSpid:\t8\t7\t6\n", 6), ("Name:\tx\n", 0)],
)
def test_the_innermost_pid(status: str, expected: int) -> None:
    assert inner_pid(f"Name:\tsystemd\n{status}Threads:\t1\n") == expected


LOCK_SECONDS = 120.0

# One that boots -----------------------------------------------------------------------------


@pytest.fixture
def packages() -> list[Package]:
    if not list(DIST.glob("ha-agent_*.deb")):
        pytest.skip("no packages in dist/: make deb")
    return built_packages()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LabHost]:
    """A host that is up, alone on its bridge."""
    if os.getuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("booting a container needs root, and its storage /dev/fuse")
    missing = [name for name in needed_here() if not _is_installed(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("no systemd-nspawn: apt-get install systemd-container")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_lab(print, LOCK_SECONDS))
        except LabError as error:
            pytest.skip(f"another lab runs on this machine: {error}")
        cluster = LabCluster(LabPlan("tt", tmp_path / "lab"), numbers=(1,))
        try:
            try:
                cluster.make()
            except LabError as error:
                pytest.skip(f"no container boots here: {error}")
            yield cluster.hosts["host1"]
        finally:
            cluster.remove()


def _is_installed(name: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return call(query).stdout == "installed"


@pytest.mark.e2e
@pytest.mark.root
@pytest.mark.timeout(300)
def test_a_host_boots_with_our_packages(host: LabHost, packages: list[Package]) -> None:
    assert host.run("ls", str(ROOT)).stdout == "", "the checkout is seen in the host"
    install(host, packages)
    assert host.must("ha-agent", "--version").startswith("ha-agent ")
    vdsm, broker = "ha-vdsm.service", "ha-broker.service"
    assert host.unit(vdsm).active == "inactive", "started by the installation"
    host.must("systemctl", "start", vdsm, broker)
    # Nothing is configured yet: only VDSM has work, and the others' conditions say so.
    pid = host.unit(vdsm).main_pid
    assert host.unit(vdsm).active == "active"
    assert host.unit(broker).active == "inactive"

    host.power_cut()
    assert host.leader is None
    assert "listening on port" in host.journal_text(0.0, "--unit", vdsm)

    host.boot()
    host.wait_up()
    assert host.unit(vdsm).active == "active", "not started at boot"
    assert host.unit(vdsm).main_pid != pid
    assert not host.run("systemctl", "list-units", "--failed", "--no-legend").stdout
    host.shut_down()
    assert host.leader is None

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ha_agent.broker.rpc import unix_listener
from ha_agent.broker.rpc.limits import ServerLimits
from ha_agent.config.layers import DEFAULT_PATH
from ha_agent.config.legacy import HOSTED_ENGINE_CONF
from ha_agent.config.schema import BrokerConfig, DefinitionConfig, HostConfig, LeaseConfig

ROOT = Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def read(unit: Path) -> dict[str, dict[str, list[str]]]:
    """Return section -> key -> values; a key may stand several times."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def test_these_are_the_units() -> None:
    assert [unit.name for unit in UNITS] == [
        "ha-agent.service",
        "ha-broker.service",
        "ha-broker.socket",
        "ha-vdsm.service",
    ]


def test_systemd_analyze_verify_is_silent(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    copies = []
    for unit in UNITS:
        # verify asks for programs that exist; the packages put ours to /usr/bin.
        text = unit.read_text(encoding="utf-8").replace("/usr/bin/ha-", f"{tmp_path}/ha-")
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(text, encoding="utf-8")
        if unit.suffix == ".service":
            program = tmp_path / unit.stem
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, copies)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        # Its own view of units would otherwise be asked for the names without a path.
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "ha-" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_every_service_is_watched_and_comes_back(unit: Path) -> None:
    sections = read(unit)
    service = sections["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["WatchdogSec"] == ["30"]
    assert service["Restart"] == ["always"]
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert int(service["OOMScoreAdjust"][0]) < 0


DAEMONS = [unit for unit in UNITS if "vdsm" not in unit.name]


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.name)
def test_nothing_starts_without_the_configuration(unit: Path) -> None:
    # "|": one of those that have it must be there.
    either = [f"|{DEFAULT_PATH}", f"|{HOSTED_ENGINE_CONF}"]
    conditions = read(unit)["Unit"]["ConditionPathExists"]
    assert [path for path in conditions if path.startswith("|")] == either


def test_the_embedded_vdsm_is_there_before_a_deploy() -> None:
    (unit,) = [unit for unit in UNITS if "vdsm" in unit.name]
    conditions = read(unit)["Unit"]["ConditionPathExists"]
    assert [path for path in conditions if not path.startswith("!")] == []


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_stop_does_not_clear_the_shared_run_directory(unit: Path) -> None:
    service = read(unit)["Service"]
    defaults = {key.name: key.default for key in HostConfig.__dataclass_fields__.values()}
    folders = [str(defaults["run_dir"])]
    if "ha-broker" in service["ExecStart"][0]:
        folders.append(str(DefinitionConfig().vm_conf_path.parent))
    names = service["RuntimeDirectory"][0].split()
    assert [f"/run/{name}" for name in names] == folders
    assert service["RuntimeDirectoryPreserve"] == ["yes"]
    state = [f"/var/lib/{name}" for name in service["StateDirectory"]]
    assert state == [str(defaults["state_dir"])]


def test_guard_and_qemu_outlive_their_parents() -> None:
    for name in ("ha-broker.service", "ha-vdsm.service"):
        assert read(ROOT / "systemd" / name)["Service"]["KillMode"] == ["process"]


def test_nothing_that_can_cut_the_broker_off_its_storage() -> None:
    service = read(ROOT / "systemd" / "ha-broker.service")["Service"]
    assert not {"PrivateDevices", "ProtectClock", "DeviceAllow", "ProtectHome"} & set(service)
    assert service["ProtectSystem"] == ["full"]
    assert "CAP_KILL" in service["CapabilityBoundingSet"][0].split()


def test_socket_is_where_the_configuration_has_it() -> None:
    sections = read(ROOT / "systemd" / "ha-broker.socket")
    run_dir = HostConfig.__dataclass_fields__["run_dir"].default
    mode = BrokerConfig.__dataclass_fields__["socket_mode"].default
    assert sections["Socket"]["ListenStream"] == [f"{run_dir}/broker.socket"]
    assert int(sections["Socket"]["SocketMode"][0], 8) == mode


def test_the_guard_acts_before_the_watchdog() -> None:
    # ha-broker.service says so in a comment.
    assert LeaseConfig(path=Path("/x")).lease_expiry_seconds < 30


def test_predecessors_names_are_aliases() -> None:
    for name in ("agent", "broker"):
        install = read(ROOT / "systemd" / f"ha-{name}.service")["Install"]
        assert install["Alias"] == [f"ovirt-ha-{name}.service"]


def test_services_start_the_programs_that_are_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    programs = {f"/usr/bin/{line.split('=')[0].strip()}" for line in lines if line}
    started = {read(unit)["Service"]["ExecStart"][0].split()[0] for unit in SERVICES}
    assert started <= programs


def test_the_broker_may_have_a_descriptor_for_each_caller() -> None:
    service = read(ROOT / "systemd" / "ha-broker.service")["Service"]
    assert int(service["LimitNOFILE"][0]) >= 4 * ServerLimits().max_connections
    backlog = read(ROOT / "systemd" / "ha-broker.socket")["Socket"]["Backlog"]
    assert int(backlog[0]) == unix_listener.BACKLOG

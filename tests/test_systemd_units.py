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
from ha_agent.vdsm.vm.registry import run_folder
from ha_agent.vdsm_user import GROUP, USER

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "systemd"
UNITS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".service", ".socket"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
GIVE = "-+/bin/systemd-tmpfiles --create ha-agent.conf"
# Of a host without VDSM the third is root's.
SANDBOXED = [FOLDER / "ha-agent.service", FOLDER / "ha-broker.service"]


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
        # verify asks for programs that exist; the packages bring ours.
        text = unit.read_text(encoding="utf-8")
        for folder in ("/usr/bin", "/usr/libexec/ha-agent"):
            text = text.replace(f"ExecStart={folder}/", f"ExecStart={tmp_path}/")
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
    run_dir = defaults["run_dir"]
    assert isinstance(run_dir, Path)
    folders = [str(run_dir if unit in SANDBOXED else run_folder(run_dir))]
    if "ha-broker" in service["ExecStart"][0]:
        folders.append(str(DefinitionConfig().vm_conf_path.parent))
    names = service["RuntimeDirectory"][0].split()
    assert [f"/run/{name}" for name in names] == folders
    assert service["RuntimeDirectoryPreserve"] == ["yes"]
    state = [f"/var/lib/{name}" for name in service.get("StateDirectory", [])]
    assert state == ([str(defaults["state_dir"])] if unit in SANDBOXED else [])


def test_guard_and_qemu_outlive_their_parents() -> None:
    for name in ("ha-broker.service", "ha-vdsm.service"):
        assert read(FOLDER / name)["Service"]["KillMode"] == ["process"]


def test_nothing_that_can_cut_the_broker_off_its_storage() -> None:
    service = read(FOLDER / "ha-broker.service")["Service"]
    assert "PrivateDevices" not in service
    # ProtectClock= alone would allow its own devices only.
    assert service["DeviceAllow"] == ["block-* rw"]
    assert service["ProtectSystem"] == ["full"]
    # The guard finds QEMU, another user's, by its command line, and ends it.
    assert "ProtectProc" not in service
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"]
    assert service["AmbientCapabilities"][0].split() == ["CAP_KILL", "CAP_NET_RAW"]


@pytest.mark.parametrize("unit", SANDBOXED, ids=lambda unit: unit.name)
def test_how_much_of_the_host_agent_and_broker_could_reach(unit: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@pytest.mark.parametrize("unit", SANDBOXED, ids=lambda unit: unit.name)
def test_agent_and_broker_are_the_owner_of_the_storage(unit: Path) -> None:
    service = read(unit)["Service"]
    assert (service["User"], service["Group"]) == ([USER], [GROUP])
    # A group that is not there would keep the unit from starting (216/GROUP).
    assert "SupplementaryGroups" not in service
    # VDSM is the same user, and has semaphores of its own.
    assert "RemoveIPC" not in service
    # Files on the storage are shared with sanlock, by the group.
    assert service["UMask"] == ["0007"]


def test_that_user_is_vdsms_by_number() -> None:
    text = (FOLDER / "ha-agent.sysusers.conf").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [line[:3] for line in lines] == [["g", GROUP, "36"], ["u", USER, f"36:{GROUP}"]]


def test_what_root_leaves_on_the_host_becomes_theirs() -> None:
    text = (FOLDER / "ha-agent.tmpfiles.conf").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    given = {line[1]: tuple(line[3:5]) for line in lines if line[0] in ("z", "d")}
    allowed = {line[1]: line[-1] for line in lines if line[0] in ("a", "a+")}
    # The embedded VDSM is root and does what ha-agent.conf says: no other user may write it.
    ours = {place for place in given if place.startswith("/etc/ha-agent/")}
    assert {given[place] for place in ours} == {("root", "root")}
    assert {allowed[place] for place in ours} == {f"u:{USER}:r"}
    assert {owner for place, owner in given.items() if place not in ours} == {(USER, GROUP)}
    assert {what for place, what in allowed.items() if place not in ours} == {f"u:{USER}:rwx"}
    places = {line[1] for line in lines}
    for path in (HostConfig.__dataclass_fields__["run_dir"].default, DEFAULT_PATH):
        assert str(path) in places
    assert str(HOSTED_ENGINE_CONF) in places
    # Who may read a file with a secret in it is not widened: no line has a mode for one.
    assert {line[2] for line in lines if line[0] != "d"} == {"-"}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_reload_is_a_signal_and_no_restart(unit: Path) -> None:
    *before, last = read(unit)["Service"]["ExecReload"]
    assert last == "/bin/kill -HUP $MAINPID"
    # What an editor run by root has replaced is the daemons' again, before they read it.
    assert before == ([GIVE] if unit in SANDBOXED else [])
    assert read(unit)["Service"].get("ExecStartPre", []) == before


@pytest.mark.parametrize("unit", SANDBOXED, ids=lambda unit: unit.name)
def test_a_start_that_waits_is_extended_in_time(unit: Path) -> None:
    # The loops say so every few seconds; the kind of message is readiness.starting's.
    assert read(unit)["Service"]["TimeoutStartSec"] == ["60"]


def test_socket_is_where_the_configuration_has_it() -> None:
    sections = read(FOLDER / "ha-broker.socket")
    run_dir = HostConfig.__dataclass_fields__["run_dir"].default
    mode = BrokerConfig.__dataclass_fields__["socket_mode"].default
    assert sections["Socket"]["ListenStream"] == [f"{run_dir}/broker.socket"]
    assert int(sections["Socket"]["SocketMode"][0], 8) == mode


def test_the_socket_stays_through_each_restart_of_the_broker() -> None:
    """With any of these it is stopped or made anew with the broker, and who waits is lost."""
    socket = read(FOLDER / "ha-broker.socket")["Unit"]
    for key in ("PartOf", "BindsTo", "Requires", "StopPropagatedFrom"):
        assert key not in socket
    service = read(FOLDER / "ha-broker.service")["Unit"]
    assert not {"PropagatesStopTo", "ConsistsOf"} & set(service)
    assert "ha-broker.socket" in service["Wants"][0].split()


def test_the_guard_acts_before_the_watchdog() -> None:
    # ha-broker.service says so in a comment.
    assert LeaseConfig(path=Path("/x")).lease_expiry_seconds < 30


def test_predecessors_names_are_aliases() -> None:
    for name in ("agent", "broker"):
        install = read(FOLDER / f"ha-{name}.service")["Install"]
        assert install["Alias"] == [f"ovirt-ha-{name}.service"]


def test_services_start_the_programs_that_are_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    programs = {line.split("=")[0].strip() for line in lines if line}
    started = {Path(read(unit)["Service"]["ExecStart"][0].split()[0]) for unit in SERVICES}
    assert {path.name for path in started} <= programs
    # Commands for people are in PATH, daemons are not.
    for path in started:
        folder = "/usr/bin" if path.name == "ha-agent" else "/usr/libexec/ha-agent"
        assert str(path.parent) == folder


def test_the_broker_may_have_a_descriptor_for_each_caller() -> None:
    service = read(FOLDER / "ha-broker.service")["Service"]
    assert int(service["LimitNOFILE"][0]) >= 4 * ServerLimits().max_connections
    backlog = read(FOLDER / "ha-broker.socket")["Socket"]["Backlog"]
    assert int(backlog[0]) == unix_listener.BACKLOG

# SPDX-License-Identifier: Apache-2.0
"""The Debian packages say what the code says. test_deb_install.py installs them."""

from __future__ import annotations

import configparser
import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "packaging" / "debian"
# What a distribution of Python's index is called in Debian, where it is not python3-<name>.
NAMES = {
    "prometheus_client": "python3-prometheus-client",
    "systemd-python": "python3-systemd",
}
PYTHON_312 = 'python_version >= "3.12"'


def paragraphs(path: Path) -> dict[str, dict[str, str]]:
    """Return Source or Package -> its fields, folded lines joined."""
    found = {}
    text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf-8"))
    for part in text.strip().split("\n\n"):
        fields = dict(line.split(":", 1) for line in re.sub(r"\n +", " ", part).splitlines())
        found[fields.get("Package", fields.get("Source", "")).strip()] = fields
    return found


def relations(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def wanted(path: Path) -> list[str]:
    """Return the relations of a setup.cfg's install_requires, in Debian's words."""
    setup = configparser.ConfigParser()
    setup.read(path, encoding="utf-8")
    found = []
    for line in setup["options"]["install_requires"].split("\n"):
        if not line:
            continue
        requirement, _, condition = (part.strip() for part in line.partition(";"))
        name, _, version = requirement.partition(" >= ")
        package = NAMES.get(name, f"python3-{name}")
        assert condition in ("", PYTHON_312)
        found.append(f"{package} (>= {version})" + " | python3 (<< 3.12)" * bool(condition))
    return found


def version(path: Path) -> str:
    (found,) = re.findall(r'(?m)^__version__ = "(.*)"$', path.read_text(encoding="utf-8"))
    return str(found)


CONTROL = paragraphs(DEBIAN / "control")


@pytest.mark.parametrize(
    ("setup", "package"),
    [
        ("setup.cfg", "ha-agent"),
        ("haclient/setup.cfg", "python3-ovirt-hosted-engine-ha"),
    ],
)
def test_every_library_is_a_dependency_in_the_same_version(setup: str, package: str) -> None:
    depends = relations(CONTROL[package]["Depends"])
    libraries = [relation for relation in depends if relation.startswith("python3-")]
    assert sorted(libraries) == sorted(wanted(ROOT / setup))


def test_the_packages_go_together() -> None:
    for package in ("ha-agent-vdsm", "ha-agent-hosted-engine"):
        assert "ha-agent (= ${binary:Version})" in relations(CONTROL[package]["Depends"])


def test_the_client_is_what_it_takes_the_place_of() -> None:
    provides = CONTROL["python3-ovirt-hosted-engine-ha"]["Provides"]
    its_version = version(ROOT / "haclient/ovirt_hosted_engine_ha/__init__.py")
    assert relations(provides) == [f"ovirt-hosted-engine-ha (= {its_version})"]


def test_every_command_is_in_a_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    commands = {f"usr/bin/{line.split('=')[0].strip()}" for line in lines if line}
    taken = {
        line.split()[0]
        for path in DEBIAN.glob("*.install")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    assert {name for name in taken if name.startswith("usr/bin/")} == commands


def installed_programs() -> set[str]:
    """Return the paths where the packages have the commands."""
    found = set()
    for path in DEBIAN.glob("*.install"):
        for line in path.read_text(encoding="utf-8").splitlines():
            source, *folder = line.split()
            if source.startswith("usr/bin/"):
                found.add(f"/{folder[0] if folder else 'usr/bin'}/{Path(source).name}")
    return found


def test_units_start_programs_where_the_packages_have_them() -> None:
    programs = installed_programs()
    for unit in sorted((ROOT / "systemd").glob("*.service")):
        (command,) = re.findall(r"(?m)^ExecStart=(.*)$", unit.read_text(encoding="utf-8"))
        assert command.split()[0] in programs, unit.name


def test_every_unit_is_enabled_and_none_is_started() -> None:
    rules = (DEBIAN / "rules").read_text(encoding="utf-8")
    calls = re.findall(r"(?m)^\tdh_installsystemd (.*)$", rules)
    named = {name for call in calls for name in re.findall(r"--name=(\S+)", call)}
    units = [*(ROOT / "systemd").glob("*.service"), *(ROOT / "systemd").glob("*.socket")]
    assert named == {unit.stem for unit in units}
    assert all("--no-start" in call.split() for call in calls)


def test_a_removal_stops_every_unit() -> None:
    stopped = set()
    for script in DEBIAN.glob("*.prerm"):
        for units in re.findall(r"deb-systemd-invoke stop (.*?) >", script.read_text()):
            stopped |= set(units.split())
    units = [*(ROOT / "systemd").glob("*.service"), *(ROOT / "systemd").glob("*.socket")]
    assert stopped == {unit.name for unit in units}


def test_no_configuration_that_would_start_the_agent_is_shipped() -> None:
    # The units start where /etc/ha-agent/ha-agent.conf is.
    folders = (DEBIAN / "ha-agent.dirs").read_text(encoding="utf-8").split()
    assert all(fnmatch.fnmatch(name, "etc/ha-agent/*") for name in folders)
    for path in DEBIAN.glob("*.install"):
        for line in path.read_text(encoding="utf-8").splitlines():
            folders = [word for word in line.split()[1:] if word.startswith("etc")]
            assert folders in ([], ["etc/ha-agent/ha-agent.conf.d"]), line


def test_the_backport_is_pinned_and_new_enough() -> None:
    source = (ROOT / "packaging/qemu.qmp/source").read_text(encoding="utf-8")
    match = re.fullmatch(r"qemu\.qmp==([0-9.]+) --hash=sha256:[0-9a-f]{64}\n", source)
    assert match is not None
    (least,) = [text for text in wanted(ROOT / "setup.cfg") if "qemu.qmp" in text]
    numbers = re.findall(r"[0-9]+", least.split(">=")[1])
    assert list(map(int, match[1].split("."))) >= list(map(int, numbers))


def test_an_overlay_of_this_machine_has_what_they_need() -> None:
    lines = (ROOT / "lab/packages.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    needed = set()
    for package in ("ha-agent", "ha-agent-vdsm", "ha-agent-hosted-engine"):
        for relation in relations(CONTROL[package]["Depends"]):
            needed.add(relation.split(" | ")[0].split(" ")[0])
    # Ours; what stands for what the build finds; what every machine has, or only a later Python.
    needed -= {"ha-agent", "python3-qemu.qmp", "python3-pyasyncore", "python3", "passwd"}
    assert listed == {name for name in needed if not name.startswith("$")}


@pytest.mark.parametrize("script", sorted(DEBIAN.glob("*.p[or]*[tr][rmi]*")), ids=lambda p: p.name)
def test_maintainer_scripts_are_for_any_shell(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    assert "#DEBHELPER#" in text
    dash = shutil.which("dash")
    if dash is None:
        pytest.skip("dash is not installed")
    done = subprocess.run([dash, "-n", str(script)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def test_nothing_asks() -> None:
    # debconf would; a removal or an upgrade may run where nobody is.
    names = [path.name for path in DEBIAN.iterdir()]
    assert not [name for name in names if name.endswith((".config", ".templates"))]

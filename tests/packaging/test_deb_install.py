# SPDX-License-Identifier: Apache-2.0
"""The Debian packages on a clean Debian 12: installed, run, upgraded, removed and purged while the
engine VM runs, and installed again. `make deb-test` builds the packages, and a later version of
them, and runs this."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from demo.domain import NETWORK
from demo.guest import HEALTH_PATH, HTTP_PORT, MEMORY_MIB, build_guest
from lab.tools import wait_until
from tests.packaging.clean_machine import CACHE, ROOT, CleanMachine, clean_machine, make_base

pytestmark = [pytest.mark.packages, pytest.mark.root, pytest.mark.timeout(1800)]

PACKAGES, LATER = ROOT / "dist", CACHE / "deb-later"
OURS = (
    *("ha-agent", "ha-agent-hosted-engine", "ha-agent-vdsm"),
    *("python3-ovirt-hosted-engine-ha", "python3-qemu.qmp"),
)
SERVICES = ("ha-agent.service", "ha-broker.service", "ha-vdsm.service")
UNITS = (*SERVICES, "ha-broker.socket")
ENGINE_PORT = 8080
STORAGE = "/srv/domain"
HOSTED_ENGINE_CONF = "/etc/ovirt-hosted-engine/hosted-engine.conf"
# No KVM, and the engine's page comes through QEMU's own network.
CONFIGURATION = f"""\
[vdsm]
ssl = false
[vdsm-server]
accelerator = tcg
networks = {NETWORK}: user,hostfwd=tcp:127.0.0.1:{ENGINE_PORT}-:{HTTP_PORT}
"""
ANSWERS = f"""\
storage_type = localfs
storage_connection = {STORAGE}
bridge =
gateway =
engine_fqdn = 127.0.0.1
mac = 00:16:3e:35:83:68
health_url = http://127.0.0.1:{ENGINE_PORT}{HEALTH_PATH}
machine = pc
memory_mib = {MEMORY_MIB}
cpus = 1
console = none
disk_image_file = /guest/guest.img
"""
# Names that only our packages, and what they write, have.
NAMES = (
    *("ha-agent", "ha_agent", "ha-broker", "ha-vdsm", "hosted-engine", "hosted_engine"),
    "qemu.qmp",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanMachine]:
    packages = sorted(PACKAGES.glob("*.deb"))
    if not packages or not list(LATER.glob("*.deb")):
        pytest.skip("there are no packages: make deb-test")
    work = tmp_path_factory.mktemp("debian")
    make_base(packages)
    guest = work / "guest"
    guest.mkdir()
    build_guest(CACHE / "guest", image=guest / "guest.img", progress=print)
    folders = [("/packages", PACKAGES), ("/later", LATER), ("/guest", guest)]
    with clean_machine(work, folders) as machine:
        yield machine


def show(machine: CleanMachine, unit: str) -> dict[str, str]:
    text = machine.must("systemctl", "show", "--property=ActiveState,MainPID", "--", unit)
    return dict(line.split("=", 1) for line in text.splitlines())


def states(machine: CleanMachine) -> dict[str, str]:
    return {unit: show(machine, unit)["ActiveState"] for unit in UNITS}


def main_pids(machine: CleanMachine) -> dict[str, str]:
    return {unit: show(machine, unit)["MainPID"] for unit in SERVICES}


def qemus(machine: CleanMachine) -> list[str]:
    return machine.run("pidof", "qemu-system-x86_64").stdout.split()


def our_processes(machine: CleanMachine) -> list[str]:
    """The command lines of our programs that run there; QEMU is not one."""
    show = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file 2>/dev/null; echo; done; :"
    lines = machine.must("sh", "-c", show).splitlines()
    return [line for line in lines if re.search(r"python3?\S* .*(ha_agent|ha-)", line)]


def journal(machine: CleanMachine) -> str:
    return machine.run("journalctl", "--no-pager", "-n", "60", "-o", "cat").stdout


def all_of(folder: str) -> tuple[str, ...]:
    """The packages of a folder, as a shell there expands them."""
    here = {"/packages": PACKAGES, "/later": LATER}[folder]
    return tuple(f"{folder}/{path.name}" for path in sorted(here.glob("*.deb")))


def install(machine: CleanMachine, folder: str) -> None:
    """As an administrator does: dpkg, which lacks the dependencies, and apt, which gets them."""
    machine.run("dpkg", "-i", *all_of(folder), deadline_seconds=600)
    words = ["apt-get", "install", "--fix-broken", "-y", "--no-install-recommends"]
    machine.must(*words, "--no-download", deadline_seconds=600)


def installed(machine: CleanMachine) -> dict[str, str]:
    """Package -> its state and version, of ours."""
    text = machine.run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *OURS).stdout
    return dict(line.split(" ", 1) for line in text.splitlines())


def are_installed(machine: CleanMachine) -> bool:
    return {name: state.strip() for name, state in installed(machine).items()} == dict.fromkeys(
        OURS, "ii"
    )


def left_over(machine: CleanMachine) -> list[str]:
    """What has a name of ours, outside of what this test has put there."""
    tests = [word for name in NAMES for word in ("-o", "-iname", f"*{name}*")][1:]
    skipped = ["(", "-path", STORAGE, "-o", "-path", "/var/cache/apt", ")", "-prune", "-o"]
    found = machine.must("find", "/", "-xdev", *skipped, "(", *tests, ")", "-print")
    return found.split()


def test_the_life_of_the_packages(machine: CleanMachine) -> None:
    assert left_over(machine) == []
    install(machine, "/packages")
    assert are_installed(machine), installed(machine)
    assert_enabled_and_not_started(machine)

    deploy(machine)
    (qemu,) = qemus(machine)
    upgrade(machine)
    assert qemus(machine) == [qemu]
    machine.must("ha-agent", "status")

    removed = machine.must("apt-get", "remove", "-y", *OURS, deadline_seconds=300)
    assert qemus(machine) == [qemu], "a removal has ended the engine VM"
    assert set(states(machine).values()) == {"inactive"}, states(machine)
    # Not the guard either, which would end the VM at the deadline of a lease that nobody renews.
    assert our_processes(machine) == []
    assert (machine.root / "etc/ovirt-hosted-engine/hosted-engine.conf").exists()
    assert (machine.root / "var/lib/ha-agent").is_dir()
    assert "ha-agent leave" in removed

    machine.must("dpkg", "--purge", *OURS, deadline_seconds=300)
    assert qemus(machine) == [qemu], "a purge has ended the engine VM"
    assert list((machine.root / STORAGE.lstrip("/")).iterdir()), "a purge has touched the storage"
    # The running VM's own files, until the next boot.
    assert left_over(machine) == []
    machine.must("sh", "-c", f"kill {qemu}")
    wait_until(lambda: qemus(machine) == [], 60, "the VM does not end")

    install(machine, "/packages")
    assert are_installed(machine), installed(machine)
    assert_enabled_and_not_started(machine)
    machine.must("dpkg", "--purge", *OURS, deadline_seconds=300)
    assert left_over(machine) == []
    assert installed(machine) == {}
    assert not [name for name in machine.must("ls", "/run").split() if "ha" in name.split("-")]


def test_lintian_has_nothing_to_say() -> None:
    packages = sorted(map(str, PACKAGES.glob("*.deb")))
    if not packages or shutil.which("lintian") is None:
        pytest.skip("needs lintian, and the packages of make deb")
    words = ["lintian", "--allow-root", "--fail-on", "error,warning", *packages]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def autopkgtests() -> list[str]:
    """What autopkgtest would run with the packages installed."""
    text = (ROOT / "packaging/debian/tests/control").read_text(encoding="utf-8")
    return re.findall(r"(?m)^Test-Command: (.*)$", text)


def catalog_ids() -> set[str]:
    text = (ROOT / "systemd/ha-agent.catalog").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^-- ([0-9a-f]{32})$", text))


def assert_enabled_and_not_started(machine: CleanMachine) -> None:
    for unit in UNITS:
        assert machine.must("systemctl", "is-enabled", unit).strip() == "enabled", unit
    assert set(states(machine).values()) == {"inactive"}, states(machine)
    assert machine.must("systemctl", "is-enabled", "ovirt-ha-agent.service").strip() == "alias"
    failed = machine.must("systemctl", "list-units", "--failed", "--no-legend", "--plain")
    assert "ha-" not in failed, failed
    for command in autopkgtests():
        machine.must("sh", "-c", command, deadline_seconds=300)
    # dpkg has the journal's catalog made anew.
    assert catalog_ids() <= set(machine.must("journalctl", "--list-catalog").split())
    assert machine.must("id", "-u", "vdsm").strip() == "36"
    # So a boot starts neither agent nor broker before the host is set up.
    assert not (machine.root / "etc/ha-agent/ha-agent.conf").exists()


def deploy(machine: CleanMachine) -> None:
    """Set the host up as the guide says."""
    machine.put("/etc/ha-agent/ha-agent.conf.d/test.conf", CONFIGURATION)
    machine.put("/root/answers.conf", ANSWERS)
    machine.must("install", "-d", "-o", "vdsm", "-g", "kvm", STORAGE)
    machine.must("systemctl", "start", "ha-vdsm.service")
    told = machine.run("ha-agent", "deploy", "--answers", "/root/answers.conf")
    assert told.returncode == 0, told.stdout + told.stderr + journal(machine)
    wait_until(lambda: len(qemus(machine)) == 1, 120, f"there is no VM\n{journal(machine)}")
    assert set(states(machine).values()) == {"active"}, states(machine)
    assert our_processes(machine) != []
    # The folder is root's, and the daemons' user may replace the file in it.
    owners = machine.must("stat", "-c", "%U:%G", "/etc/ovirt-hosted-engine", HOSTED_ENGINE_CONF)
    assert owners.split() == ["root:root", "vdsm:kvm"]
    replace = f"cp {HOSTED_ENGINE_CONF} {HOSTED_ENGINE_CONF}.new && mv {HOSTED_ENGINE_CONF}.new $0"
    machine.must(
        "setpriv",
        "--reuid=vdsm",
        "--regid=kvm",
        "--clear-groups",
        "sh",
        "-c",
        replace,
        HOSTED_ENGINE_CONF,
    )
    assert "unsafe path transition" not in machine.must("journalctl", "--no-pager", "-o", "cat")


def upgrade(machine: CleanMachine) -> None:
    """To a later version, while all runs; what was stopped stays stopped."""
    before = main_pids(machine)
    changed = machine.root / "etc/ha-agent/ha-agent.conf.d/10-predecessor-logs.conf"
    text = changed.read_text() + "# changed here\n"
    changed.write_text(text)
    machine.must("dpkg", "-i", *all_of("/later"), deadline_seconds=600)
    after = main_pids(machine)
    assert set(states(machine).values()) == {"active"}, states(machine)
    assert changed.read_text() == text
    assert all(after[unit] not in ("0", before[unit]) for unit in SERVICES), (before, after)

    machine.must("systemctl", "stop", "ha-agent.service")
    machine.must("dpkg", "-i", *all_of("/later"), deadline_seconds=600)
    assert states(machine)["ha-agent.service"] == "inactive"
    machine.must("systemctl", "start", "ha-agent.service")

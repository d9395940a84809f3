# SPDX-License-Identifier: Apache-2.0
"""`make rpm` in the layouts of EL 9 and 10: what is in the packages, and what their scripts do.

The scripts run in an overlay of this machine's root, in a mount namespace of its own; a systemctl
that only writes down what it is told stands in there, since nothing may start.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = {"el9": "3.9", "el10": "3.12"}
AGENT = ("ha-agent", "ha-agent-vdsm", "ha-agent-hosted-engine", "ovirt-hosted-engine-ha")
LIBRARIES = {
    "el9": {"python3-transitions", "python3-qemu-qmp"},
    "el10": {"python3-transitions", "python3-qemu-qmp", "python3-sdnotify"},
}
COMPLETIONS = (
    "bash-completion/completions/{}",
    "zsh/site-functions/_{}",
    "fish/vendor_completions.d/{}.fish",
)
# What Enterprise Linux or EPEL call what setup.cfg asks for, where it is not python3-<name>.
NAMES = {"pyinotify": "python3-inotify", "systemd-python": "python3-systemd"}
NAMES |= {"qemu.qmp": "python3-qemu-qmp"}

# A layout takes pip half a minute of processor time: one is enough for what both have in common.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
LAYOUT = pytest.mark.parametrize(
    "layout", ["el9", pytest.param("el10", marks=pytest.mark.packages)]
)


def run(words: Sequence[str], **variables: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        cwd="/",
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def layout() -> str:
    """The layout of a test that is about no other."""
    return "el9"


@pytest.fixture(scope="module")
def built() -> dict[str, Path]:
    """Layout -> its packages, as far as they are built."""
    return {}


@pytest.fixture
def rpms(tmp_path_factory: pytest.TempPathFactory, built: dict[str, Path], layout: str) -> Path:
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not here")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    if run(["rpm", "--eval", "%{?rhel}"]).strip():
        pytest.skip("this is an EL: what is built here is for it, in no other layout")
    if layout not in built:
        out = tmp_path_factory.mktemp("rpms")
        run([str(ROOT / "scripts" / "make_rpm"), "--out", str(out), layout])
        built[layout] = out
    return built[layout]


def package(rpms: Path, name: str, layout: str) -> Path:
    [path] = [
        path
        for path in rpms.glob(f"*.{layout}.noarch.rpm")
        if run(["rpm", "-qp", "--qf", "%{NAME}", str(path)]) == name
    ]
    return path


def files(path: Path) -> set[str]:
    """Return its files, a manual page without what compressed it."""
    return {name.removesuffix(".gz") for name in run(["rpm", "-qlp", str(path)]).split("\n")} - {
        ""
    }


def expected(name: str) -> set[str]:
    """Return what is in a package besides Python's files and documents."""
    has = {
        "ha-agent": [
            "/usr/bin/ha-agent",
            "/usr/libexec/ha-agent",
            "/usr/libexec/ha-agent/ha-broker",
            "/etc/ha-agent",
            "/etc/ha-agent/ha-agent.conf.d",
            "/etc/ha-agent/notifications",
            "/usr/lib/systemd/catalog/ha-agent.catalog",
            *(f"/usr/lib/systemd/system/{unit}" for unit in ("ha-agent.service",)),
            *(f"/usr/lib/systemd/system/ha-broker.{kind}" for kind in ("service", "socket")),
            *(f"/usr/lib/{kind}.d/ha-agent.conf" for kind in ("sysusers", "tmpfiles")),
            *(f"/usr/share/man/man8/{page}.8" for page in ("ha-agent", "ha-broker")),
            "/usr/share/man/man5/ha-agent.conf.5",
            "/usr/share/man/man7/ha-agent-api.7",
            "/usr/share/ha-agent",
            "/usr/share/ha-agent/ha-agent.conf",
            "/usr/share/ha-agent/answers-example.conf",
            "/usr/share/ha-agent/notifications",
            *(
                f"/usr/share/ha-agent/notifications/{path.name}"
                for path in (ROOT / "conf" / "notifications").iterdir()
            ),
        ],
        "ha-agent-vdsm": [
            "/usr/libexec/ha-agent/ha-vdsm",
            "/usr/lib/systemd/system/ha-vdsm.service",
            "/usr/share/man/man8/ha-vdsm.8",
            "/etc/ha-agent/ha-agent.conf.d/10-enterprise-linux.conf",
        ],
        "ha-agent-hosted-engine": [
            "/usr/bin/hosted-engine",
            "/usr/bin/ovirt-hosted-engine-cleanup",
            "/etc/ha-agent/ha-agent.conf.d/10-predecessor-logs.conf",
            "/etc/logrotate.d/ovirt-hosted-engine-ha",
            "/usr/lib/tmpfiles.d/ovirt-hosted-engine-ha.conf",
            "/usr/libexec/ha-agent/ovirt-ha-agent",
            *(
                f"/usr/share/man/man8/{page}.8"
                for page in ("hosted-engine", "ovirt-hosted-engine-cleanup", "ovirt-ha-agent")
            ),
        ],
    }.get(name, [])
    command = {"ha-agent": "ha-agent", "ha-agent-hosted-engine": "hosted-engine"}.get(name)
    return {*has, *(f"/usr/share/{text.format(command)}" for text in COMPLETIONS if command)}


@LAYOUT
def test_each_package_has_what_it_should(rpms: Path, layout: str) -> None:
    site = f"/usr/lib/python{LAYOUTS[layout]}/site-packages/"
    beside = (site, "/usr/share/doc/", "/usr/share/licenses/")
    modules = {"ha-agent": "ha_agent", "ovirt-hosted-engine-ha": "ovirt_hosted_engine_ha"}
    for name in AGENT:
        found = files(package(rpms, name, layout))
        assert {path for path in found if not path.startswith(beside)} == expected(name), name
        tops = {path[len(site) :].split("/")[0] for path in found if path.startswith(site)}
        assert {top for top in tops if not top.endswith(".dist-info")} == (
            {modules[name]} if name in modules else set()
        )
        source = ROOT if name == "ha-agent" else ROOT / "haclient"
        for path in source.glob(f"{modules.get(name, 'none')}/**/*.py"):
            assert f"{site}{path.relative_to(source)}" in found


@LAYOUT
def test_what_no_distribution_has_is_packaged(rpms: Path, layout: str) -> None:
    found = {
        run(["rpm", "-qp", "--qf", "%{NAME}", str(path)])
        for path in rpms.glob(f"*.{layout}.noarch.rpm")
    }
    assert found == {*AGENT, *LIBRARIES[layout]}
    for name in LIBRARIES[layout]:
        site = f"/usr/lib/python{LAYOUTS[layout]}/site-packages/"
        assert all(
            path.startswith((site, "/usr/share/licenses/"))
            for path in files(package(rpms, name, layout))
        )


@LAYOUT
def test_all_that_setup_cfg_asks_for_is_required(rpms: Path, layout: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = [line for line in setup["options"]["install_requires"].split("\n") if line]
    required = run(["rpm", "-qp", "--requires", str(package(rpms, "ha-agent", layout))])
    for line in lines:
        name, _, version = line.partition(" >= ")
        if ";" not in line:
            assert f"\n{NAMES.get(name, f'python3-{name}')} >= {version}\n" in f"\n{required}"
    # python3-inotify of EL 10 needs no asyncore, and nothing there has it.
    assert "asyncore" not in required


@LAYOUT
def test_the_predecessors_names_are_taken_over(rpms: Path, layout: str) -> None:
    client = package(rpms, "ovirt-hosted-engine-ha", layout)
    assert run(["rpm", "-qp", "--qf", "%{VERSION}", str(client)]) == "2.6.0"
    assert "ha-agent\n" in run(["rpm", "-qp", "--requires", str(client)])
    command = str(package(rpms, "ha-agent-hosted-engine", layout))
    assert "ovirt-hosted-engine-setup = 2.8.0\n" in run(["rpm", "-qp", "--provides", command])
    assert "ovirt-hosted-engine-setup < 2.8.0\n" in run(["rpm", "-qp", "--obsoletes", command])


def test_digests_and_sources(rpms: Path) -> None:
    packages = [str(path) for path in rpms.glob("*.rpm")]
    assert all(line.endswith("digests OK") for line in run(["rpm", "-K", *packages]).splitlines())
    pinned = [
        line.partition("--hash=sha256:")[2].strip()
        for file in ("rpm/source", "qemu.qmp/source")
        for line in (ROOT / "packaging" / file).read_text().splitlines()
    ]
    sources = [*(ROOT / "build" / "rpm" / "sources").glob("*.tar.gz")]
    found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    assert set(pinned) <= found
    for name, version in (
        ("transitions", "transitions"),
        ("sdnotify", "sdnotify"),
        ("qemu_qmp", "qmp"),
    ):
        spec = (ROOT / "packaging" / "rpm" / "ha-agent-libraries.spec").read_text()
        number = spec.partition(f"{version}_version ")[2].split("\n")[0]
        assert f"{name}-{number}.tar.gz" in {path.name for path in sources}


# --- the scripts -------------------------------------------------------------------------

# It knows one unit, if that: the predecessor's agent, which runs.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/var/tmp/asked
case $* in
*is-active*) [ -e /var/tmp/predecessor-runs ] ;;
*FragmentPath*) echo FragmentPath=/usr/lib/systemd/system/ovirt-ha-agent.service ;;
esac
"""
# It is asked in this, and otherwise as it is.
TIMEOUT = """#!/bin/sh
echo "within $*" >>/var/tmp/asked
shift
exec "$@"
"""
# What of the predecessor's own package counts here: its name, and configuration that it owns.
PREDECESSOR = """
Name: ovirt-hosted-engine-ha
Version: 2.5.1
Release: 1
Summary: x
License: LGPLv2+
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/var/lib/ovirt-hosted-engine-ha %{buildroot}/etc/ovirt-hosted-engine-ha
echo shipped >%{buildroot}/var/lib/ovirt-hosted-engine-ha/ha.conf
echo shipped >%{buildroot}/etc/ovirt-hosted-engine-ha/agent.conf
%files
%config(noreplace) /var/lib/ovirt-hosted-engine-ha/ha.conf
%config(noreplace) /etc/ovirt-hosted-engine-ha/agent.conf
"""
ENTER = """
set -e
mount -t overlay overlay -o lowerdir=/,upperdir=$1/upper,workdir=$1/work $1/root
root=$1/root
shift
sed -i '/^vdsm:/d' $root/etc/passwd
for program in systemctl timeout; do
	cp $STAND_INS/$program $root/usr/bin/$program.new
	chmod 755 $root/usr/bin/$program.new
	mv $root/usr/bin/$program.new $root/usr/bin/$program
done
told() { echo "== $1"; cat $root/var/tmp/asked 2>/dev/null || :; rm -f $root/var/tmp/asked; }
force=$(rpm --help | grep -o -- --force-debian | head -n 1)
change() { rpm --root $root $force --nodeps "$@"; }
"""
LIFE = """
change -i "$@"
told install
chroot $root getent passwd vdsm
change -V ha-agent ha-agent-hosted-engine ovirt-hosted-engine-ha ha-agent-vdsm || :
echo '[host]' >$root/etc/ha-agent/ha-agent.conf
change -U --force "$@"
told upgrade
mkdir $root/var/tmp/kept
cp -a $root/usr/lib/python3.9 $root/usr/bin/ha-agent $root/var/tmp/kept
change -e ovirt-hosted-engine-ha ha-agent-hosted-engine ha-agent-vdsm ha-agent
told removal
ls $root/etc/ha-agent $root/usr/libexec/ha-agent 2>/dev/null || :
"""
REPLACEMENT = """
change -i "$1"
echo local_maintenance=True >$root/var/lib/ovirt-hosted-engine-ha/ha.conf
touch $root/var/tmp/predecessor-runs
change -U "$2" 2>&1 && echo replaced || echo refused
rm $root/var/tmp/predecessor-runs
change -U "$2"
rpm --root $root -q ovirt-hosted-engine-ha
cat $root/var/lib/ovirt-hosted-engine-ha/ha.conf $root/etc/ovirt-hosted-engine-ha/agent.conf
ls $root/var/lib/ovirt-hosted-engine-ha $root/etc/ovirt-hosted-engine-ha
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    probe = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o"]
    options = f"lowerdir=/,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    done = subprocess.run([*probe, options, f"{tmp_path}/root"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no overlay of / can be mounted here")
    yield tmp_path
    # The mounts went with their namespaces.
    shutil.rmtree(tmp_path / "work", ignore_errors=True)


def on_machine(machine: Path, script: str, packages: Sequence[Path]) -> str:
    (machine / "systemctl").write_text(SYSTEMCTL)
    (machine / "timeout").write_text(TIMEOUT)
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER + script, "sh"]
    return run([*words, str(machine), *map(str, packages)], STAND_INS=str(machine))


@pytest.mark.root
def test_it_takes_the_predecessors_place(rpms: Path, machine: Path) -> None:
    spec = machine / "predecessor.spec"
    spec.write_text(PREDECESSOR)
    run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {machine}/old", str(spec)])
    [old] = machine.glob("old/RPMS/noarch/*.rpm")
    new = package(rpms, "ovirt-hosted-engine-ha", "el9")
    lines = on_machine(machine, REPLACEMENT, [old, new]).split("\n")
    # Not under an agent of the predecessor's that runs.
    told = "the predecessor's agent runs on this host: run 'ha-agent upgrade' first"
    assert told in lines
    assert lines.index(told) < lines.index("refused") < lines.index("local_maintenance=True")
    assert "ovirt-hosted-engine-ha-2.6.0-1.el9.noarch" in lines
    # This host's local maintenance is what it was, and so is the rest; nothing of ours lies about.
    assert lines[lines.index("local_maintenance=True") + 1] == "shipped"
    assert not [line for line in lines if line.endswith(".ha-agent")]


@pytest.mark.root
def test_the_scripts(rpms: Path, machine: Path) -> None:
    said = on_machine(machine, LIFE, [package(rpms, name, "el9") for name in AGENT])
    steps = {part.split("\n")[0]: part.split("\n")[1:] for part in said.split("== ")[1:]}
    told = {
        name: [
            line for line in lines if line.startswith(("--no-reload", "within", "daemon-reload"))
        ]
        for name, lines in steps.items()
    }
    agent = "ha-agent.service ha-broker.service"
    # What runs is restarted, with the new units; rpm does not wait for storage that hangs.
    restarts = [
        line
        for units in ("ha-broker.service ha-agent.service", "ha-vdsm.service")
        for line in ("daemon-reload", f"within 60 systemctl try-restart {units}")
    ]
    # Presets decide whether anything is enabled; nothing is started.
    assert told["install"] == [
        f"--no-reload preset {agent} ha-broker.socket",
        "--no-reload preset ha-vdsm.service",
        *restarts,
    ]
    assert "vdsm:x:36:" in said
    assert told["upgrade"] == restarts
    assert sorted(told["removal"]) == [
        "--no-reload disable --now ha-broker.socket ha-agent.service ha-broker.service",
        "--no-reload disable --now ha-vdsm.service",
    ]
    # What people wrote stays; the rest is gone.
    assert [line for line in steps["removal"] if line.endswith(":")] == [
        f"{machine}/root/etc/ha-agent:"
    ]
    assert "ha-agent.conf" in steps["removal"]
    kept = machine / "upper" / "var" / "tmp" / "kept"
    site, program = kept / "python3.9" / "site-packages", kept / "ha-agent"
    assert program.read_text().split("\n")[0] == "#!/usr/bin/python3 -s"
    libraries = f"{site}:{sysconfig.get_path('purelib')}"
    said = run([sys.executable, str(program), "--version"], PYTHONPATH=libraries)
    assert said.startswith("ha-agent ")
    code = "import ha_agent, sys; sys.exit(not ha_agent.__file__.startswith(sys.argv[1]))"
    run([sys.executable, "-c", code, str(site)], PYTHONPATH=libraries)

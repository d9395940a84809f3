# SPDX-License-Identifier: Apache-2.0
"""What the Debian packages' scripts do where a host is in trouble.

They run in a mount namespace whose /etc, /run and /var are empty, with stand-ins for the programs
that would change this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEBIAN = Path(__file__).resolve().parents[2] / "packaging" / "debian"
MOUNTS = "for folder in /etc /run /var; do mount -t tmpfs tmpfs $folder; done\n"
# The user is another's to change, and a restarted daemon waits for its storage.
PROGRAMS = {
    "getent": "exit 0",
    "usermod": "exit 6",
    "systemctl": "exit 0",
    "deb-systemd-invoke": 'echo "$*" >>"$TOLD"; exec sleep 1000',
    "timeout": 'shift; exec /usr/bin/timeout 0.2 "$@"',
    "dpkg-query": "exit 1",
    "id": "echo 777",
}

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def programs(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, and unshare")
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)


def run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", MOUNTS + script]
    return subprocess.run(
        words,
        env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin", "TOLD": f"{tmp_path}/told"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )


@pytest.mark.parametrize(
    ("package", "units"),
    [
        ("ha-agent", ["ha-broker.service", "ha-agent.service"]),
        ("ha-agent-vdsm", ["ha-vdsm.service"]),
    ],
)
def test_an_upgrade_ends_though_storage_hangs(
    tmp_path: Path, package: str, units: list[str]
) -> None:
    script = f"mkdir -p /run/systemd/system; sh {DEBIAN}/{package}.postinst configure"
    done = run(tmp_path, f"{script} 0.0.9")
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [f"try-restart {unit}" for unit in units]
    assert all(f"systemctl status {unit}" in done.stderr for unit in units)


@pytest.mark.parametrize("package", ["ha-agent", "ha-agent-vdsm"])
def test_an_installation_starts_nothing(tmp_path: Path, package: str) -> None:
    script = f"mkdir -p /run/systemd/system; sh {DEBIAN}/{package}.postinst configure ''"
    done = run(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "told").exists()


def test_a_user_of_a_directory_service_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, f"sh {DEBIAN}/ha-agent.postinst triggered /usr/sbin/sanlock")
    assert done.returncode == 0, done.stderr
    assert "vdsm could not be put into the group sanlock" in done.stderr


def test_a_user_with_another_number_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, f"sh {DEBIAN}/ha-agent.postinst configure ''")
    assert done.returncode == 0, done.stderr
    assert "vdsm has number 777" in done.stderr
    (tmp_path / "id").write_text("#!/bin/sh\necho 36\n")
    assert "number" not in run(tmp_path, f"sh {DEBIAN}/ha-agent.postinst configure ''").stderr


def test_a_purge_does_not_go_into_what_is_mounted(tmp_path: Path) -> None:
    folder = "/var/lib/ha-agent/storage"
    script = f"""
mkdir -p {folder} /etc/ha-agent /var/lib/ha-agent/ours /run/ha-agent
mount -t tmpfs tmpfs {folder}
touch {folder}/disk
sh {DEBIAN}/ha-agent.postrm purge
find /etc /var /run -name disk -o -name 'ha-agent' -o -name ours
"""
    done = run(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"/var/lib/ha-agent", f"{folder}/disk"}

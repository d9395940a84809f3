# SPDX-License-Identifier: Apache-2.0
"""Pacemaker, corosync and libvirt's daemon, installed from Debian for the peers' hosts alone.

Not on this machine: its packages' services would start here, and in our own hosts, whose roots lie
over this machine's. apt-get runs in a container over a root of its own, in which nothing starts
(policy-rc.d); what it has written is then laid over each host's root.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.overlay import make_root, take_root
from lab.ports import LabError
from lab.tools import call, must

PACKAGES = (
    *("pacemaker", "pacemaker-cli-utils", "corosync", "resource-agents"),
    "libvirt-daemon-system",
)
INSTALL_DEADLINE_SECONDS = 600.0
_NOTHING_STARTS = "usr/sbin/policy-rc.d"
# Which units are enabled is for each host; the rest is of no use there.
_NOT_LAID = ("etc/systemd/system", "var/cache", "var/log/journal", "run", "tmp")


def make_layer(folder: Path, machine: str) -> Path:
    """Install into a new layer in `folder` and return it. Raises LabError."""
    root = make_root(folder, {_NOTHING_STARTS: "#!/bin/sh\nexit 101\n"}, {}, ())
    try:
        (root / _NOTHING_STARTS).chmod(0o755)
        inside = [
            *("systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={machine}"),
            *("--register=no", "--keep-unit", "--as-pid2", "--pipe", "--link-journal=no"),
            *("--resolv-conf=bind-host", "--setenv=DEBIAN_FRONTEND=noninteractive"),
        ]
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
        ended = call(
            ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", *inside, *install],
            deadline_seconds=INSTALL_DEADLINE_SECONDS,
        )
        if ended.returncode != 0:
            said = (ended.stdout + ended.stderr).strip()[-1000:]
            raise LabError(f"the peers' packages can't be installed (apt-get update?): {said}")
    finally:
        take_root(folder)
    upper = folder / "upper"
    for name in (_NOTHING_STARTS, *_NOT_LAID):
        path = upper / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return upper


def lay(layer: Path, root: Path) -> None:
    """Put all that the layer has on top of a host's mounted root. Raises LabError."""
    must(["cp", "--archive", "--force", f"{layer}/.", f"{root}/"])


def write(root: Path, files: Mapping[str, str], links: Mapping[str, str]) -> None:
    """Write files and links into a host's mounted root, in place of what is there."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    for name, target in links.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def versions(root: Path) -> dict[str, str]:
    """Return package -> version, of those that were installed into a root. Raises LabError."""
    names = ("pacemaker", "corosync", "resource-agents", "libvirt-daemon")
    form = "${Package} ${Version}\n"
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", form, *names]
    return dict(line.split(" ") for line in must(query).splitlines())

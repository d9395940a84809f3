# SPDX-License-Identifier: Apache-2.0
"""The packages of `make deb`, and getting them into a host.

In a host they are installed as an administrator does it: `dpkg -i`, under the booted systemd, so
that their scripts run as on any machine. What they depend on is installed on this machine, which
the host's root is an overlay of: lab/packages.txt, by `ensure_machine`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.host import LabHost
from lab.ports import LabError
from lab.tools import call, must

DIST = Path(__file__).parents[1] / "dist"
THERE = "var/cache/ha-lab"
INSTALL_DEADLINE_SECONDS = 300.0
APT_DEADLINE_SECONDS = 1200.0
# Besides what ours depend on: containers, and an address on a bridge.
_LAB_NEEDS = ("systemd-container", "iproute2")
# Leases, a clock that jumps: `make setup` has them, and keeps their daemons from starting here.
_OF_SETUP = ("sanlock", "python3-sanlock", "gcc")
_LIST = Path(__file__).with_name("packages.txt")
_FILE = re.compile(r"(?P<name>[a-z0-9.+-]+)_(?P<version>[A-Za-z0-9.+~:-]+)_(all|amd64)\.deb")


@dataclass(frozen=True)
class Package:
    """One package file."""

    path: Path
    name: str
    version: str


def package_of(path: Path) -> Package:
    """Return what a package file's name says. Raises LabError for one that is no package's."""
    found = _FILE.fullmatch(path.name)
    if found is None:
        raise LabError(f"{path} is not named as a Debian package")
    return Package(path, found["name"], found["version"])


def newest(packages: Iterable[Package], age: Callable[[Package], float]) -> list[Package]:
    """Return of each package the file that was made last; `age` grows with time. Pure."""
    found: dict[str, Package] = {}
    for package in sorted(packages, key=age):
        found[package.name] = package
    return sorted(found.values(), key=lambda package: package.name)


def built_packages(folder: Path = DIST) -> list[Package]:
    """Return what `make deb` has made last. Raises LabError when there is nothing."""
    found = [package_of(path) for path in folder.glob("*.deb")]
    if not any(package.name == "ha-agent" for package in found):
        raise LabError(f"no packages in {folder}: make them with `make deb`")
    return newest(found, lambda package: package.path.stat().st_mtime)


def install(host: LabHost, packages: Sequence[Package]) -> None:
    """Install, or upgrade to, these packages on a host that is up. Raises LabError."""
    folder = host.root / THERE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in packages:
        shutil.copy(package.path, folder)
    files = [f"/{THERE}/{package.path.name}" for package in packages]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    host.must(*environment, "dpkg", "--install", *files, deadline_seconds=INSTALL_DEADLINE_SECONDS)


def needed_here() -> list[str]:
    """Return the Debian packages that this machine has to have."""
    lines = _LIST.read_text().splitlines()
    return sorted({*_LAB_NEEDS, *_OF_SETUP, *(line for line in lines if line and line[0] != "#")})


def ensure_machine(say: Callable[[str], None]) -> None:
    """See that this machine can have a lab; installs Debian packages that are missing. Raises
    LabError with what is in the way."""
    if os.getuid() != 0:
        raise LabError("the lab boots containers: run it as root")
    if shutil.which("dpkg-query") is None:
        raise LabError("the lab's hosts are overlays of this machine, which has to be Debian")
    wanted = needed_here()
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted]
    have = call(query).stdout.splitlines()
    missing = [name for name in wanted if f"{name} installed" not in have]
    if not_set_up := [name for name in missing if name in _OF_SETUP]:
        raise LabError(f"not installed: {', '.join(not_set_up)}; `make setup` does it")
    if missing:
        say(f"installing from Debian: {' '.join(missing)}")
        # Old lists will do; that they can't be had anew is no reason to end.
        call(["apt-get", "update", "-q"], deadline_seconds=APT_DEADLINE_SECONDS)
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        must(command, deadline_seconds=APT_DEADLINE_SECONDS)
    for path in ("/dev/net/tun", "/dev/fuse"):
        if not os.access(path, os.R_OK | os.W_OK):
            raise LabError(f"the lab needs {path}")

# SPDX-License-Identifier: Apache-2.0
"""What this host puts into its VMs' definitions: its name and serial in SMBIOS, huge pages.

The engine writes OS-NAME:, OS-VERSION: and HOST-SERIAL: and leaves it to the host to fill them in.
The facts are silent on VDSM's exact words; here they are os-release's and the firmware's UUID.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PAGES = re.compile(r"hugepages-([0-9]+)kB")


def smbios_values(root: Path = Path("/")) -> Mapping[str, str]:
    """Return the placeholders' values; "" for what is not known."""
    known = {}
    for line in _read(root / "etc/os-release").splitlines():
        name, _, value = line.partition("=")
        known[name] = value.strip().strip("\"'")
    return {
        "OS-NAME:": known.get("NAME", ""),
        "OS-VERSION:": known.get("VERSION_ID", ""),
        "HOST-SERIAL:": _read(root / "sys/class/dmi/id/product_uuid").strip().lower(),
    }


def free_huge_pages(root: Path = Path("/")) -> Mapping[int, int]:
    """Return how many huge pages are free, by their size in KiB."""
    found = {}
    for path in (root / "sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        size, free = _PAGES.fullmatch(path.name), _read(path / "free_hugepages").strip()
        if size and free.isdecimal():
            found[int(size[1])] = int(free)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

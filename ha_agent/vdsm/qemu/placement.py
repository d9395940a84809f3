# SPDX-License-Identifier: Apache-2.0
"""What a host has for a VM, and what comes out: values for arguments.py. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ha_agent.errors import BadInput

DOMAIN_XML = "domain XML"


class UnsupportedDevice(BadInput):
    """The definition has a device that this host can't give the VM; the message names it."""

    def __init__(self, what: str) -> None:
        super().__init__(what, where=DOMAIN_XML)


@dataclass(frozen=True)
class QemuBinary:
    """What this host's QEMU is and has, as its own help texts say (qemu/probe.py)."""

    path: str
    machines: frozenset[str]
    cpu_models: frozenset[str]
    cpu_flags: frozenset[str]
    devices: frozenset[str]


@dataclass(frozen=True)
class Placement:
    """What this host gives the VM. `networks` maps a network's name to QEMU's -netdev value.

    `disk_paths` are the real paths by target, `no_direct_io` the targets whose storage has no
    direct I/O. `firmware` and `nvram` are files, set when the definition asks for UEFI.
    `qmp_fd` is a listening socket that QEMU inherits. `missing_disks` are the targets of optional
    disks whose file is not there. `free_huge_pages` are numbers by the page's size in KiB,
    `smbios` values for placeholders such as HOST-SERIAL:. `tpm_socket` is swtpm's.
    """

    run_dir: Path
    accelerator: str
    networks: Mapping[str, str]
    disk_paths: Mapping[str, str] = field(default_factory=dict)
    no_direct_io: frozenset[str] = frozenset()
    firmware: str = ""
    nvram: str = ""
    qmp_fd: int = 3
    missing_disks: frozenset[str] = frozenset()
    free_huge_pages: Mapping[int, int] = field(default_factory=dict)
    smbios: Mapping[str, str] = field(default_factory=dict)
    tpm_socket: str = ""


@dataclass(frozen=True)
class Command:
    """`arguments` with the binary first; `notes` say what differs from the definition."""

    arguments: tuple[str, ...]
    notes: tuple[str, ...]


def escape(text: str) -> str:
    """Escape a value within an option list: QEMU takes ",," for a comma.

    Raises BadInput for control characters, which no name or path of ours has.
    """
    if any(ord(character) < 32 for character in text):
        raise BadInput(f"control character in {text[:60]!r}", where=DOMAIN_XML)
    return text.replace(",", ",,")


def blockdev(node: Mapping[str, object]) -> list[str]:
    """Return a block node's arguments. JSON, so that paths need no escaping."""
    return ["-blockdev", json.dumps(node)]

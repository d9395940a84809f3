# SPDX-License-Identifier: Apache-2.0
"""A made-up QEMU, and ways to look at a command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.qemu.arguments import build_command
from ha_agent.vdsm.qemu.placement import Command, Placement, QemuBinary
from tests.vdsm.embedded import make_xml

QEMU = QemuBinary(
    path="/usr/bin/qemu",
    machines=frozenset({"pc", "q35", "pc-q35-7.2"}),
    cpu_models=frozenset({"Broadwell", "max", "host"}),
    cpu_flags=frozenset({"vmx", "pcid"}),
    devices=frozenset(
        {"virtio-net-pci", "e1000", "e1000e", "rtl8139", "VGA", "cirrus-vga", "tpm-crb"}
    ),
)
PLACEMENT = Placement(
    run_dir=Path("/run/v"),
    accelerator="tcg",
    networks={"net": "user,hostfwd=tcp:127.0.0.1:18080-:80", "lan": "bridge,br=br0"},
    disk_paths={"vda": "/storage/disk"},
)
NIC = "<interface type='bridge'><source bridge='{}'/><model type='{}'/>{}</interface>"


def build(xml: str = "", **placement: Any) -> Command:
    return build_command(
        parse_domain(xml or make_xml()), QEMU, dataclasses.replace(PLACEMENT, **placement)
    )


def values(command: Command, option: str) -> list[str]:
    pairs = zip(command.arguments, command.arguments[1:])
    return [value for name, value in pairs if name == option]


def device(command: Command, model: str) -> str:
    [found] = [value for value in values(command, "-device") if value.split(",")[0] == model]
    return found


def image(command: Command) -> dict[str, Any]:
    [text] = values(command, "-blockdev")
    found: dict[str, Any] = json.loads(text)
    return found

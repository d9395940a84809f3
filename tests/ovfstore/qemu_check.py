# SPDX-License-Identifier: Apache-2.0
"""QEMU's own judgement of a domain, as the embedded VDSM would start it: does it come up?"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import pathlib
import shutil
import socket
import subprocess

import pytest

from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.qemu.arguments import build_command
from ha_agent.vdsm.qemu.placement import Placement, QemuBinary
from ha_agent.vdsm.qemu.probe import read_qemu

BINARY = "qemu-system-x86_64"
IMAGE_BYTES = 1 << 20
DEADLINE_SECONDS = 30


@functools.cache
def _qemu() -> QemuBinary:
    return asyncio.run(read_qemu(BINARY))


def start_fault(xml: str, folder: pathlib.Path) -> str:
    """Start the domain with its CPUs stopped, end it, and return "" or what QEMU says against it.

    Its disks are small images in `folder`. Skips where there is no QEMU.
    """
    if not shutil.which(BINARY) or not shutil.which("qemu-img"):
        pytest.skip("no QEMU")
    domain = parse_domain(xml)
    # A kernel is a file of some host, not of this one.
    tuning = dataclasses.replace(domain.tuning, kernel="")
    domain = dataclasses.replace(domain, tuning=tuning)
    paths = {}
    for disk in domain.disks:
        if disk.device == "disk":
            path = folder / disk.target
            image = [disk.format, str(path), str(IMAGE_BYTES)]
            subprocess.run(["qemu-img", "create", "-q", "-f", *image], check=True, timeout=30)
            paths[disk.target] = str(path)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(folder / "qmp"))
        listener.listen()
        client.connect(str(folder / "qmp"))
        client.settimeout(DEADLINE_SECONDS)
        placement = Placement(
            run_dir=folder,
            accelerator="tcg",
            networks={"ovirtmgmt": "user"},
            disk_paths=paths,
            no_direct_io=frozenset(paths),
            qmp_fd=listener.fileno(),
        )
        command = build_command(domain, _qemu(), placement)
        process = subprocess.Popen(
            [*command.arguments, "-S"],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        listener.close()
        try:
            greeting = client.recv(4096)
            if greeting:
                client.sendall(b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
            said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        except ConnectionError:
            said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
    return "" if process.returncode == 0 else said or f"exit code {process.returncode}"

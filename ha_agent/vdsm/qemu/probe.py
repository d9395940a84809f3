# SPDX-License-Identifier: Apache-2.0
"""Finds out what this host's QEMU has, and whether KVM works here.

`/dev/kvm` that opens proves nothing: nested or emulated virtualisation may offer the device and
then not run a guest's code, or crawl through it. So `auto` runs one: a boot sector that enters
64-bit mode with paging, counts down from 20 million and writes to QEMU's debug-exit port, which
ends QEMU with status 33. Under KVM that takes milliseconds on a sound host, and emulation by TCG
takes 0.3 s; a KVM that can't do it within the deadline is worse than TCG. Real mode alone would
not do: a KVM was seen that ran it and hung in 64-bit mode.

The answer is kept in `accelerator.json` in the run directory, which does not outlive a reboot.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

from ha_agent.atomic_file import replace_file
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.qemu.placement import QemuBinary
from ha_agent.waiting import within

_HELP_DEADLINE_SECONDS = 20.0
_PROOF_DEADLINE_SECONDS = 5.0
_IMAGE_BYTES = 1 << 20  # the BIOS boots no disk smaller than a cylinder
_PROVED_STATUS = 33  # isa-debug-exit: (value << 1) | 1, and the sector writes 0x10

# Assembled with GNU as, -Ttext 0x7c00. Real mode:
_SECTOR_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007c"  # cli; ax=0; ds=es=ss=ax; sp=0x7c00
    "bf0010b90018fcf3ab"  # clear 0x1000..0x3fff, three levels of page tables
    "c70600100320c70600200330c70600308300"  # identity map of the first 2 MiB, one large page
    "66b8001000000f22d8"  # cr3 = 0x1000
    "0f20e00c200f22e0"  # cr4 |= PAE
    "66b9800000c00f3280cc010f30"  # EFER |= LME
    "0f0116807c"  # lgdt [0x7c80]
    "0f20c0660d010000800f22c0"  # cr0 |= PE | PG
    "ea5b7c0800"  # jump to 8:0x7c5b, 64-bit from here
    "b9002d3101ffc975fc"  # ecx = 20000000; 1: dec ecx; jnz 1b
    "b010e6f4"  # out 0xf4, 0x10
    "f4ebfd"  # hlt, for ever
)
_SECTOR_GDT_OFFSET = 0x70
_SECTOR_GDT = bytes.fromhex("000000000000000000000000009a20000f00707c0000")


def proof_sector() -> bytes:
    """Return the 512 bytes that prove an accelerator."""
    sector = _SECTOR_CODE.ljust(_SECTOR_GDT_OFFSET, b"\0") + _SECTOR_GDT
    return sector.ljust(510, b"\0") + b"\x55\xaa"


async def read_qemu(binary: str) -> QemuBinary:
    """Ask QEMU what it has. Raises EnvironmentFault (not there, broken), DeadlineExceeded."""
    path = shutil.which(binary)
    if path is None:
        raise EnvironmentFault(f"{binary} is not installed (Debian: qemu-system-x86)")
    machines, cpus, devices = await asyncio.gather(
        _output(path, "-machine", "help"),
        _output(path, "-cpu", "help"),
        _output(path, "-device", "help"),
    )
    models, _, flags = cpus.partition("Recognized CPUID flags:")
    return QemuBinary(
        path=path,
        machines=frozenset(re.findall(r"^(\S+) ", machines, re.MULTILINE)) - {"Supported"},
        cpu_models=frozenset(re.findall(r"^x86 (\S+)", models, re.MULTILINE)),
        cpu_flags=frozenset(flags.split()),
        devices=frozenset(re.findall(r'^name "([^"]+)"', devices, re.MULTILINE)),
    )


async def choose_accelerator(configured: str, qemu_path: str, run_dir: Path) -> tuple[str, str]:
    """Return the accelerator to use, kvm or tcg, and the reason in words.

    `configured` is auto, kvm or tcg; only auto tries. Raises EnvironmentFault when QEMU does
    not even start.
    """
    if configured != "auto":
        return configured, "configured"
    if not os.path.exists("/dev/kvm"):
        return "tcg", "there is no /dev/kvm"
    state = run_dir / "accelerator.json"
    key = [qemu_path, os.stat(qemu_path).st_mtime_ns, os.access("/dev/kvm", os.R_OK | os.W_OK)]
    try:
        known = json.loads(state.read_text())
        if known["key"] == key and known["accelerator"] in ("kvm", "tcg"):
            return str(known["accelerator"]), f"{known['reason']} (tried before)"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing known yet
    works, reason = await prove("kvm", qemu_path, run_dir)
    accelerator = "kvm" if works else "tcg"
    found = json.dumps({"key": key, "accelerator": accelerator, "reason": reason})
    replace_file(state, found.encode(), sync=False)
    return accelerator, reason


async def prove(accelerator: str, qemu_path: str, run_dir: Path) -> tuple[bool, str]:
    """Tell whether an accelerator runs a guest, and what was seen. Raises EnvironmentFault."""
    image = run_dir / "proof.img"
    image.write_bytes(proof_sector().ljust(_IMAGE_BYTES, b"\0"))
    arguments = [
        *("-machine", "pc", "-accel", accelerator, "-m", "16"),
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-blockdev", json.dumps({
            "driver": "raw", "node-name": "proof", "read-only": True,
            "file": {"driver": "file", "filename": str(image), "read-only": True},
        })),
        *("-device", "virtio-blk-pci,drive=proof,bootindex=1"),
    ]  # fmt: skip
    try:
        status, output = await _run(qemu_path, arguments, _PROOF_DEADLINE_SECONDS)
    except DeadlineExceeded:
        return False, f"{accelerator} did not run a small guest in {_PROOF_DEADLINE_SECONDS:g} s"
    finally:
        image.unlink(missing_ok=True)
    if status == _PROVED_STATUS:
        return True, f"{accelerator} ran a small guest"
    last_line = (output.strip().splitlines() or [f"status {status}"])[-1]
    return False, f"{accelerator} failed: {last_line[:200]}"


async def _output(path: str, *arguments: str) -> str:
    status, output = await _run(path, list(arguments), _HELP_DEADLINE_SECONDS)
    if status != 0:
        raise EnvironmentFault(f"{path} {' '.join(arguments)} failed: {output.strip()[:200]}")
    return output


async def _run(path: str, arguments: list[str], deadline_seconds: float) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await within(deadline_seconds, process.communicate())
    except asyncio.TimeoutError:
        raise DeadlineExceeded(f"{path} {' '.join(arguments)[:60]}", deadline_seconds) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return int(process.returncode or 0), output.decode(errors="replace")

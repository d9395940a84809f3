# SPDX-License-Identifier: Apache-2.0
"""qemu-img, for set-up: what an image file is, and copying it into a volume.

It runs as a child process, so that a copy that hangs in the kernel hangs alone. A copy is ended
when nothing of it was told for STALL_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.setup.step import Say
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm_user import Owner, process_of, vdsm_owner
from ha_agent.waiting import within

PROGRAM = "qemu-img"
INFO_SECONDS = 60.0
STALL_SECONDS = 600.0
FORMATS = ("raw", "qcow2")
# What qemu-img takes for a raw disk and no firmware boots: offset, magic, what it is. The engine
# appliance comes as the third, compressed by the first.
_WRAPPED = (
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"\xfd7zXZ\0", "compressed by xz"),
    (257, b"ustar", "a tar archive, as an OVA is"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"PK\x03\x04", "a zip archive"),
)
_PERCENT = re.compile(rb"\((\d+)\.\d+/100%\)")
_STEP_PERCENT = 5


@dataclass(frozen=True)
class ImageInfo:
    """One image file: its format, and the size that a VM sees."""

    format: str
    virtual_bytes: int


async def image_info(path: Path) -> ImageInfo:
    """Look at an image file. Raises BadInput for one that can't be used, EnvironmentFault."""
    await StorageThreads().run(str(path), INFO_SECONDS, lambda: _refuse_others(path))
    process = await _start("info", "--output=json", "--", str(path))
    try:
        out, complaint = await within(INFO_SECONDS, process.communicate())
    except asyncio.TimeoutError:
        raise DeadlineExceeded(f"{PROGRAM} info {path}", INFO_SECONDS) from None
    finally:
        await _end(process)
    if process.returncode != 0:
        raise BadInput(_said(complaint), where=str(path))
    try:
        told = json.loads(out)
        info = ImageInfo(str(told["format"]), int(told["virtual-size"]))
    except (ValueError, KeyError, TypeError):
        raise EnvironmentFault(f"{PROGRAM} info {path}: its answer can't be read") from None
    if info.format not in FORMATS:
        raise BadInput(f"format {info.format} is none of {', '.join(FORMATS)}", where=str(path))
    if "backing-filename" in told:
        raise BadInput("it has a backing file: give it whole", where=str(path))
    # Else whoever made the image has a file of his choice read by root, and put into a VM's disk.
    if "data-file" in _specific(told):
        raise BadInput("its data is in another file: give it whole", where=str(path))
    if told.get("encrypted"):
        raise BadInput("it is encrypted: give it decrypted", where=str(path))
    if info.virtual_bytes == 0:
        raise BadInput("it is empty", where=str(path))
    return info


def _refuse_others(path: Path) -> None:
    """Look without qemu-img at what it would hang at, or take for a raw disk."""
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
            raise BadInput("it is no file and no block device", where=str(path))
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from None
    for offset, magic, what in _WRAPPED:
        if head.startswith(magic, offset):
            raise BadInput(
                f"it is {what}: unpack it, and give the disk image that is in it", where=str(path)
            )


def _specific(told: dict[str, Any]) -> dict[str, Any]:
    """Return what qemu-img tells of this format only."""
    specific = told.get("format-specific")
    data = specific.get("data") if isinstance(specific, dict) else None
    return data if isinstance(data, dict) else {}


async def copy_image(source: Path, kind: str, target: str, say: Say) -> None:
    """Copy an image of format `kind` into a raw volume; on the storage when this returns.

    `say` gets every fifth percent. May be repeated. Raises EnvironmentFault.
    """
    # Not the default cache mode of the target, "unsafe": it leaves all in the page cache.
    words = ("-p", "-n", "-f", kind, "-O", "raw", "-t", "writeback")
    process = await _start(
        "convert", *words, "--", str(source), target, owner=await _writer(target)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaint = asyncio.ensure_future(process.stderr.read())
    told = -_STEP_PERCENT
    try:
        while True:
            try:
                chunk = await within(STALL_SECONDS, process.stdout.read(4096))
            except asyncio.TimeoutError:
                raise DeadlineExceeded(
                    f"progress of the copy to {target}", STALL_SECONDS
                ) from None
            if not chunk:
                break
            percents = [int(text) for text in _PERCENT.findall(chunk)]
            if percents and max(percents) >= told + _STEP_PERCENT:
                told = max(percents)
                say(f"{told} %")
        await within(STALL_SECONDS, process.wait())
        if process.returncode != 0:
            raise EnvironmentFault(f"copying {source}: {_said(await complaint)}")
    except asyncio.TimeoutError:
        raise DeadlineExceeded(f"the end of the copy to {target}", STALL_SECONDS) from None
    finally:
        complaint.cancel()
        await _end(process)


async def _writer(target: str) -> Owner:
    """Return whom the copy is made as: root, who can read any image file, unless the server of
    the storage trusts no root."""
    owner = vdsm_owner()
    if owner is None:
        return None
    may_write = await StorageThreads().run(
        target, INFO_SECONDS, lambda: os.access(target, os.W_OK)
    )
    return None if may_write else owner


async def _start(*words: str, owner: Owner = None) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            PROGRAM,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            **process_of(owner),
        )
    except OSError as error:
        raise EnvironmentFault(f"{PROGRAM} can't be run: {error.strerror}") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    """A process that hangs in the kernel is not waited for."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(5.0, process.wait())


def _said(complaint: bytes) -> str:
    text = complaint.decode("utf-8", "replace").strip().splitlines()
    return text[-1][:300] if text else f"{PROGRAM} failed"

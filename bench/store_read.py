# SPDX-License-Identifier: Apache-2.0
"""Claim: the engine VM's OVF out of a store volume of 128 MiB, against `dd | tar`.

Like for like: our direct reads against `dd iflag=direct bs=1M` on the same volume, on this
disk's file system and on a block device; and, on a file system in memory, against the
predecessor's `dd bs=4k`. With one VM at least 20 times as fast.

With 2000 VMs every header is looked at, and they lie 17 kB apart, so that all bytes are read:
no reader can be faster than the storage gives them. How long that takes alone is a row beside;
where it is more than a third of what `dd | tar` takes, three times as fast is out of reach. The
bound there is that we are never slower.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import Callable

from bench import store
from bench.cluster import NotMeasured
from bench.report import Less, Row, bytes_text
from ha_agent.broker import directio

TURNS, RUNS_A_TURN = 3, 7
VM_COUNTS = (1, 200, 2000)
DISK, BLOCK, MEMORY = "disk, direct", "block device, direct", "memory"
BOUNDS = {
    **{(1, where): Less(20) for where in (DISK, BLOCK, MEMORY)},
    **{(2000, where): Less(1) for where in (DISK, BLOCK, MEMORY)},
}
DIRECT, BUFFERED = ["iflag=direct", "bs=1M"], ["bs=4k"]
_MEMORY_FOLDER = Path("/dev/shm")
_READ_BYTES = 1024 * 1024


def measure(work: Path, say: Callable[[str], None]) -> list[Row]:
    """Read from volumes with 1, 200 and 2000 VMs. Raises NotMeasured."""
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="store-", dir=work)))
        memory = None
        if os.access(_MEMORY_FOLDER, os.W_OK):
            made = tempfile.TemporaryDirectory(prefix="ha-bench-", dir=_MEMORY_FOLDER)
            memory = Path(stack.enter_context(made))
        worker = store.Worker(folder)
        stack.callback(worker.close)
        for vm_count in VM_COUNTS:
            data = store.archive(vm_count)
            path = folder / "volume"
            store.write_volume(path, data)
            say(f"store-read: {vm_count} VMs, an archive of {bytes_text(len(data))}")
            rows += _rows(worker, path, vm_count, len(data), DISK, DIRECT)
            with store.loop_device(path) as device:
                if device is not None:
                    rows += _rows(worker, device, vm_count, len(data), BLOCK, DIRECT)
            if memory is not None:
                path = memory / "volume"
                store.write_volume(path, data)
                rows += _rows(worker, path, vm_count, len(data), MEMORY, BUFFERED)
    return rows


def _rows(
    worker: store.Worker, path: Path, vm_count: int, size_bytes: int, where: str, dd: list[str]
) -> list[Row]:
    ours: list[float] = []
    theirs: list[float] = []
    alone: list[float] = []
    for _turn in range(TURNS):
        for _run in range(RUNS_A_TURN):
            ours.append(_ours(worker, path, size_bytes))
        for _run in range(RUNS_A_TURN):
            theirs.append(_theirs(path, dd))
        for _run in range(RUNS_A_TURN):
            alone.append(_bytes_alone(path, size_bytes))
    what = f"OVF of {vm_count} VMs, {where}: {bytes_text(size_bytes)} read"
    against = f"dd {' '.join(dd)} | tar"
    rows = [Row(what, tuple(ours), against, tuple(theirs), BOUNDS.get((vm_count, where)))]
    if vm_count == max(VM_COUNTS):
        rows.append(Row(what, tuple(ours), "the same bytes, only read", tuple(alone)))
    return rows


def _ours(worker: store.Worker, path: Path, size_bytes: int) -> float:
    seconds, value = worker.timed(
        "read_members", path=str(path), size_bytes=size_bytes, names=[store.MEMBER, f"{store.MEMBER}.approval"]
    )
    if value["members"].get(store.MEMBER) != store.engine_ovf():
        raise NotMeasured(f"{path}: the OVF was not read")
    return seconds


def _theirs(path: Path, dd: list[str]) -> float:
    seconds, found = store.dd_tar(path, dd)
    if found != store.engine_ovf():
        raise NotMeasured(f"{path}: dd and tar did not read the OVF")
    return seconds


def _bytes_alone(path: Path, size_bytes: int) -> float:
    """What the storage takes for these bytes, past the page cache where it can."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(directio.open_file(str(path)))
        memory = stack.enter_context(mmap.mmap(-1, _READ_BYTES))
        view = stack.enter_context(memoryview(memory))
        begun = time.monotonic()
        for offset in range(0, size_bytes, _READ_BYTES):
            file.read_into(offset, view)
        return time.monotonic() - begun

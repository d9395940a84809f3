# SPDX-License-Identifier: Apache-2.0
"""Claim: the engine VM's OVF out of a store volume of 128 MiB, against `dd | tar`.

Like for like: our direct reads against `dd iflag=direct bs=1M` on the same volume, on this
disk's file system and on a block device; and, on a file system in memory, against the
predecessor's `dd bs=4k`. With one VM at least 20 times as fast, with 2000 three times. Past the
page cache, one VM is held to 15 times only: 18 to 26 were measured, and most of that time, 0.1 to
0.14 ms, is the storage's own for 24 kB.

Both sides are what an agent does for itself: a function of ours, two processes of theirs. The
broker has the function called by a storage worker, which storage may hang; for one VM, where it
shows, what that adds is a row without bound.

`dd | tar` reads the whole archive, wherever the member is, since a later one of that name could
follow. We read from the end to the member: 64 kB where we put it, as it is last then; half of
the archive where the engine wrote it to the middle; all of it at worst. What we read is verified
header by header, what is in front of the member is not (ovfstore/tar_tail.py). The bytes that we
read are in the row. How long the storage takes for these alone is a row beside.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

from bench import store
from bench.cluster import NotMeasured
from bench.report import Less, Row, bytes_text
from ha_agent.broker.storage import directio
from ha_agent.broker.store import volume_ops

TURNS = 3
# The first run of a turn finds the processor's caches full of the other side's work: where a read
# takes a fraction of a millisecond, more of them make a turn.
RUNS_A_TURN, SHORT_RUNS_A_TURN = 7, 25
VM_COUNTS = (1, 200, 2000)
MOST_VMS = max(VM_COUNTS)
DISK, BLOCK, MEMORY = "disk, direct", "block device, direct", "memory"
FIRST, MIDDLE, LAST = "first", "in the middle", "last, as we put it"
BOUNDS = {(MOST_VMS, MIDDLE): Less(3), (MOST_VMS, LAST): Less(20)}
DIRECT, BUFFERED = ["iflag=direct", "bs=1M"], ["bs=4k"]
EXTREMES = ((MOST_VMS, LAST), (MOST_VMS, FIRST))
APPROVAL = f"{store.MEMBER}.approval"
_MEMORY_FOLDER = Path("/dev/shm")
_READ_BYTES = 1024 * 1024


def measure(work: Path, say: Callable[[str], None]) -> list[Row]:
    """Read from volumes with 1, 200 and 2000 VMs, and from several places. Raises NotMeasured."""
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="store-", dir=work)))
        memory = None
        if os.access(_MEMORY_FOLDER, os.W_OK):
            made = tempfile.TemporaryDirectory(prefix="ha-bench-", dir=_MEMORY_FOLDER)
            memory = Path(stack.enter_context(made))
        worker = store.Worker(folder)
        stack.callback(worker.close)
        for vm_count, place in (*((count, MIDDLE) for count in VM_COUNTS), *EXTREMES):
            data = _archive(worker, folder, vm_count, place)
            path = folder / "volume"
            store.write_volume(path, data)
            say(f"store-read: {vm_count} VMs, {place}: an archive of {bytes_text(len(data))}")
            rows += _rows(worker, path, (vm_count, place), len(data), DISK, DIRECT)
            with store.loop_device(path) as device:
                if device is not None:
                    rows += _rows(worker, device, (vm_count, place), len(data), BLOCK, DIRECT)
            if memory is not None:
                path = memory / "volume"
                store.write_volume(path, data)
                rows += _rows(worker, path, (vm_count, place), len(data), MEMORY, BUFFERED)
    return rows


def _archive(worker: store.Worker, folder: Path, vm_count: int, place: str) -> bytes:
    data = store.archive(vm_count, 0 if place == FIRST else None)
    if place != LAST:
        return data
    path = folder / "put"
    path.write_bytes(data)
    result = worker.call(
        "change_members",
        path=str(path),
        size_bytes=len(data),
        changes={APPROVAL: None, store.MEMBER: store.engine_ovf()},
        capacity_bytes=store.VOLUME_BYTES,
        last_updated_text=store.DATE,
        mtime=store.WRITTEN_AT.unix_seconds,
    )
    return path.read_bytes()[: result["size_bytes"]]


def _rows(
    worker: store.Worker,
    path: Path,
    case: tuple[int, str],
    size_bytes: int,
    where: str,
    dd: list[str],
) -> list[Row]:
    vm_count, place = case
    ours: list[float] = []
    theirs: list[float] = []
    alone: list[float] = []
    before = worker.read_bytes()
    _through(worker, path, size_bytes)
    read_bytes = worker.read_bytes() - before
    through: list[float] = []
    runs = SHORT_RUNS_A_TURN if vm_count == 1 else RUNS_A_TURN
    for _turn in range(TURNS):
        for _run in range(runs):
            ours.append(_ours(path, size_bytes))
        for _run in range(runs if vm_count == 1 else 0):
            through.append(_through(worker, path, size_bytes))
        for _run in range(runs):
            theirs.append(_theirs(path, dd))
        for _run in range(RUNS_A_TURN if vm_count == MOST_VMS else 0):
            alone.append(_bytes_alone(path, size_bytes, read_bytes))
    what = f"OVF of {vm_count} VMs, {place}, {where}: {bytes_text(read_bytes)} read"
    against = f"dd {' '.join(dd)} | tar: {bytes_text(size_bytes)}"
    rows = [Row(what, tuple(ours), against, tuple(theirs), _bound(case, where))]
    if through:
        rows.append(
            Row(f"{what}, through a storage worker", tuple(through), against, tuple(theirs))
        )
    if alone:
        rows.append(Row(what, tuple(ours), "the same bytes, only read", tuple(alone)))
    return rows


def _bound(case: tuple[int, str], where: str) -> Optional[Less]:
    if case == (1, MIDDLE):
        return Less(20 if where == MEMORY else 15)
    return BOUNDS.get(case)


def _ours(path: Path, size_bytes: int) -> float:
    begun = time.monotonic()
    value = volume_ops.read_members(str(path), size_bytes, [store.MEMBER, APPROVAL])
    seconds = time.monotonic() - begun
    _check(value, path)
    return seconds


def _through(worker: store.Worker, path: Path, size_bytes: int) -> float:
    seconds, value = worker.timed(
        "read_members", path=str(path), size_bytes=size_bytes, names=[store.MEMBER, APPROVAL]
    )
    _check(value, path)
    return seconds


def _check(value: dict[str, Any], path: Path) -> None:
    if value["members"].get(store.MEMBER) != store.engine_ovf():
        raise NotMeasured(f"{path}: the OVF was not read")


def _theirs(path: Path, dd: list[str]) -> float:
    seconds, found = store.dd_tar(path, dd)
    if found != store.engine_ovf():
        raise NotMeasured(f"{path}: dd and tar did not read the OVF")
    return seconds


def _bytes_alone(path: Path, size_bytes: int, count_bytes: int) -> float:
    """What the storage takes for the last bytes of the archive, past the page cache if it can."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(directio.open_file(str(path)))
        memory = stack.enter_context(mmap.mmap(-1, _READ_BYTES))
        view = stack.enter_context(memoryview(memory))
        start = max(0, size_bytes - count_bytes)
        begun = time.monotonic()
        for offset in range(start - start % directio.BLOCK_BYTES, size_bytes, _READ_BYTES):
            rest = -(-(size_bytes - offset) // directio.BLOCK_BYTES) * directio.BLOCK_BYTES
            file.read_into(offset, view[:rest])
        return time.monotonic() - begun

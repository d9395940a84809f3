# SPDX-License-Identifier: Apache-2.0
"""Claim: one OVF is put into a store of 2000 VMs with 20 times fewer bytes than a rewrite.

Against what VDSM does for each update of the engine: `dd of=VOLUME bs=1M conv=fsync` of the
whole archive. The first put finds the member in the middle, all others find it last.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable

from bench import store
from bench.report import BYTES, Less, Row, bytes_text

RUNS = 11
VM_COUNT = 2000
TIMES = 20


def measure(work: Path, say: Callable[[str], None]) -> list[Row]:
    """Put an OVF and write the archive anew, in turn. Raises NotMeasured."""
    data = store.archive(VM_COUNT)
    say(f"store-put: {VM_COUNT} VMs, an archive of {bytes_text(len(data))}")
    seconds, written, rewrite_seconds = [], [], []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="store-", dir=work)))
        worker = store.Worker(folder)
        stack.callback(worker.close)
        ours, theirs = folder / "ours", folder / "theirs"
        store.write_volume(ours, data)
        store.write_volume(theirs, data)
        size_bytes = len(data)
        for run in range(RUNS):
            taken, value = worker.timed(
                "change_members",
                path=str(ours),
                size_bytes=size_bytes,
                changes={store.MEMBER: store.engine_ovf() + b"\n" * run},
                capacity_bytes=store.VOLUME_BYTES,
                last_updated_text=store.DATE,
                mtime=store.WRITTEN_AT.unix_seconds,
            )
            seconds.append(taken)
            written.append(float(value["written_bytes"]))
            size_bytes = value["size_bytes"]
            rewrite_seconds.append(_rewrite(theirs, data))
    what, against = f"put one OVF of {VM_COUNT}", "dd of= bs=1M conv=fsync"
    whole = (float(len(data)),)
    return [
        Row(f"{what}: bytes written", tuple(written), against, whole, Less(TIMES), BYTES),
        Row(f"{what}: time, read back too", tuple(seconds), against, tuple(rewrite_seconds)),
    ]


def _rewrite(path: Path, data: bytes) -> float:
    begun = time.monotonic()
    subprocess.run(
        ["dd", f"of={path}", "bs=1M", "conv=fsync"],
        input=data,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=store.DEADLINE_SECONDS,
    )
    return time.monotonic() - begun

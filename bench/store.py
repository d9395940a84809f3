# SPDX-License-Identifier: Apache-2.0
"""For the claims on the OVF_STORE: volumes as the engine writes them, a worker, and `dd`."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import msgpack

from bench.cluster import NotMeasured
from ha_agent.broker.storage.lane import launch_worker
from ha_agent.instant import WallTime
from ha_agent.ovfstore.tar_volume import build_archive

VOLUME_BYTES = 128 * 1024 * 1024
DATE = "Sun Nov 22 05:16:23 UTC 2026"
WRITTEN_AT = WallTime(1795324583.0)
DEADLINE_SECONDS = 60.0
ENGINE_VM = "11111111-2222-4333-8444-555555555555"
MEMBER = f"{ENGINE_VM}.ovf"
_SAMPLE = Path(__file__).resolve().parents[1] / "tests" / "data" / "engine_vm.ovf"
_OVF_BYTES = 17_000
_LENGTH = struct.Struct(">I")


def engine_ovf() -> bytes:
    """Return an engine VM's OVF of the size that one with EngineXml has."""
    sample = _SAMPLE.read_bytes()
    return sample + b"\n" * (_OVF_BYTES - len(sample))


def archive(vm_count: int, place: Optional[int] = None) -> bytes:
    """Return an archive of so many VMs; the engine VM's is in the middle, or at `place`."""
    ovf = engine_ovf()
    members = [
        (str(uuid.UUID(int=number)), ovf + b"\n" * (number * 7919 % 2000))
        for number in range(1, vm_count + 1)
    ]
    members[vm_count // 2 if place is None else place] = (ENGINE_VM, ovf)
    return build_archive(
        str(uuid.UUID(int=0)), members, last_updated_text=DATE, written_at=WRITTEN_AT
    )


def write_volume(path: Path, data: bytes) -> None:
    """Make a volume that begins with `data`, on the storage and out of the page cache."""
    with path.open("wb") as file:
        file.write(data)
        file.truncate(VOLUME_BYTES)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Worker:
    """A running storage worker, called and waited for, as the broker does it."""

    def __init__(self, run_dir: Path) -> None:
        self._process, self._sock = launch_worker(sys.executable, "bench", str(run_dir))
        self._sock.settimeout(DEADLINE_SECONDS)
        self.call("ping")

    def call(self, operation: str, **args: Any) -> Any:
        """Return the operation's value. Raises NotMeasured."""
        request = msgpack.packb({"id": 1, "operation": operation, "args": args})
        self._sock.sendall(_LENGTH.pack(len(request)) + request)
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
        reply = msgpack.unpackb(self._receive(length))
        if "error" in reply:
            raise NotMeasured(f"{operation}: {reply['error']}")
        return reply["value"]

    def timed(self, operation: str, **args: Any) -> tuple[float, Any]:
        """Return the seconds of the round trip, and the value."""
        begun = time.monotonic()
        value = self.call(operation, **args)
        return time.monotonic() - begun, value

    def read_bytes(self) -> int:
        """Return how many bytes the process has read from files since it began."""
        for line in Path(f"/proc/{self._process.pid}/io").read_text().splitlines():
            name, _, value = line.partition(": ")
            if name == "rchar":
                return int(value)
        raise NotMeasured("the kernel does not count what a process reads")

    def close(self) -> None:
        """End the process, which leaves at the end of its input."""
        self._sock.close()
        ends_at = time.monotonic() + DEADLINE_SECONDS
        while self._process.poll() is None and time.monotonic() < ends_at:
            time.sleep(0.005)

    def _receive(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = self._sock.recv(length - len(data), socket.MSG_WAITALL)
            if not piece:
                raise NotMeasured("the storage worker ended in a call")
            data += piece
        return bytes(data)


def dd_tar(path: Path, dd_arguments: list[str]) -> tuple[float, bytes]:
    """Return the seconds of `dd | tar -xOf -` for the engine VM's OVF, and the OVF."""
    begun = time.monotonic()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["dd", f"if={path}", *dd_arguments], stdout=pipe, stderr=subprocess.DEVNULL
    ) as dd:
        with subprocess.Popen(["tar", "-xOf", "-", MEMBER], stdin=dd.stdout, stdout=pipe) as tar:
            assert dd.stdout is not None
            dd.stdout.close()  # so that dd ends when tar has seen enough
            found, _ = tar.communicate(timeout=DEADLINE_SECONDS)
        dd.wait(timeout=DEADLINE_SECONDS)
    return time.monotonic() - begun, found


@contextlib.contextmanager
def loop_device(path: Path) -> Iterator[Optional[Path]]:
    """Yield a block device over the file, or None where none can be made (no root)."""
    setup = ["losetup", "--find", "--show", str(path)]
    try:
        made = subprocess.run(setup, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=10)

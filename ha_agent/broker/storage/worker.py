# SPDX-License-Identifier: Apache-2.0
"""The process that touches shared storage, so that the broker's event loop never does.

    python -m ha_agent.broker.storage.worker --lane NAME --run-dir DIR

It does one operation at a time, from the fixed table OPERATIONS. storage/lane.py starts it,
gives each call a deadline, and kills it when storage hangs: so an operation holds nothing that
the next worker could not do again. (What lease/file.py holds open ends with this process, on
purpose: it is the proof that the holder lives.)

Both directions carry frames: a length of 4 bytes, big endian, and that many bytes of
MessagePack.

    request  {"id": 7, "operation": "read_slots", "args": {"path": "/…", "slots": [0, 1]}}
    answer   {"id": 7, "value": …}
          or {"id": 7, "error": {"code": "EIO", "message": "…"}}

Both have "io" besides: how many reads the operation made, bytes read, writes, bytes written, all
as the kernel counts them; it is absent where the kernel does not tell.

`code` is the name of the errno, or `bad_input` (the bytes or the request can't be used), or
`fault` (another failure of the environment), or `internal` (our own mistake; the traceback is
on stderr, and the process goes on).

The process ends at the end of its stdin, and by SIGKILL when its parent dies. It ignores SIGINT
and SIGTERM: systemd and a terminal send those to the whole group, and a stopping broker still
needs it to give the lease back. One that hangs in the kernel outlives the broker; the next one
finds it by its name (storage/leftovers.py). Imports stay light: a start delays the call that
waits for it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import os
import signal
import struct
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Callable, Optional

import msgpack

from ha_agent.broker.blocks import register_ops
from ha_agent.broker.lease import file as lease_file
from ha_agent.broker.sanlock import lockspace_ops, member_ops
from ha_agent.broker.sanlock import ops as sanlock_ops
from ha_agent.broker.storage import directio
from ha_agent.broker.storage.io_meter import IoMeter
from ha_agent.broker.store import conf_volume_ops, folder_ops, volume_ops
from ha_agent.errors import BadInput, HaAgentError

SLOT_BYTES = 4096
"""A host's place in the status volume; slot n begins at n * SLOT_BYTES. Slot 0 is global."""

STATUS_BYTES = 512
"""The part of a slot that is a status block; the rest is text for people."""

# A changed member is 8 MiB at most (tar_volume.MEMBER_LIMIT_BYTES); its approval is small.
MAX_REQUEST_BYTES = 9 * 1024 * 1024
MAX_SLOTS = 4096

_SCAN_BYTES = 1024 * 1024
_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_NAME_BYTES = 15  # as much of a name the kernel keeps
_READS = frozenset(
    (
        *("ping", "read_slots", "scan_slots", "read_members", "list_archive", "lease_read"),
        *("lockspace_read", "lockspace_leader", "read_conf_volume", "sanlock_look"),
        *("sanlock_own_id", "find_folder_volumes"),
    )
)


def ping() -> dict[str, Any]:
    """Answer without touching storage. Returns {"pid": int}."""
    return {"pid": os.getpid()}


def read_slots(path: str, slots: list[int]) -> dict[str, Any]:
    """Read the 4096-byte slots with these numbers.

    Returns {"direct": bool, "slots": [entry, …]} in the order asked, each entry
    {"slot": n, "data": bytes} or {"slot": n, "error": {"code", "message"}}: a slot that can't
    be read is that slot's error. Only a failing open is the call's (OSError).
    """
    if len(slots) > MAX_SLOTS:
        raise BadInput(f"{len(slots)} slots asked for, the limit is {MAX_SLOTS}", where=path)
    with directio.open_file(path) as file:
        entries: list[dict[str, Any]] = []
        for run in _runs([_slot_number(slot) for slot in slots]):
            entries.extend(_read_run(file, run))
        return {"direct": file.direct, "slots": entries}


def scan_slots(path: str, count: int) -> dict[str, Any]:
    """Find the used ones of slots 0..count-1, in few big reads.

    Used is a slot whose status part has a byte that is not zero. Returns what `read_slots`
    does, of used slots and of those that can't be read. Slots past the end of the file are
    unused.
    """
    if not 0 < count <= MAX_SLOTS:
        raise BadInput(f"{count} slots to scan, the limit is {MAX_SLOTS}", where=path)
    per_chunk = _SCAN_BYTES // SLOT_BYTES
    entries: list[dict[str, Any]] = []
    with directio.open_file(path) as file:
        # Slot 0 is looked at in any case: read_slots, too, says so when it is not there.
        in_file = max(1, -(-file.size_bytes() // SLOT_BYTES))
        for first in range(0, min(count, in_file), per_chunk):
            numbers = range(first, min(first + per_chunk, count, in_file))
            entries.extend(_scan_chunk(file, numbers))
        return {"direct": file.direct, "slots": entries}


def write_slot(path: str, slot: int, data: bytes, read_back: bool = False) -> dict[str, Any]:
    """Write one whole slot; it is on the storage at return.

    Returns {"direct": bool, "equal": bool or None}: with `read_back` the slot is read again
    and compared (another host may have written it since), else `equal` is None.
    """
    if len(data) != SLOT_BYTES:
        raise BadInput(f"slot of {len(data)} bytes, must be {SLOT_BYTES}", where=path)
    offset = _slot_number(slot) * SLOT_BYTES
    with directio.open_file(path, write=True) as file:
        file.write_blocks(offset, data)
        equal = file.pread_exact(offset, SLOT_BYTES) == data if read_back else None
        return {"direct": file.direct, "equal": equal}


def _slot_number(slot: int) -> int:
    if not isinstance(slot, int) or isinstance(slot, bool) or not 0 <= slot < MAX_SLOTS:
        raise BadInput(f"slot number {slot!r} is not in 0..{MAX_SLOTS - 1}")
    return slot


def _read_slot(file: directio.DirectFile, slot: int) -> dict[str, Any]:
    try:
        return {"slot": slot, "data": file.pread_exact(slot * SLOT_BYTES, SLOT_BYTES)}
    except OSError as error:
        return {"slot": slot, "error": _describe(error)}


def _runs(slots: list[int]) -> list[list[int]]:
    """Cut a list of slots into neighbours that one read can take: a cluster's hosts mostly are."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and slot == runs[-1][-1] + 1 and len(runs[-1]) < _SCAN_BYTES // SLOT_BYTES:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs


def _read_run(file: directio.DirectFile, run: list[int]) -> list[dict[str, Any]]:
    data = b""
    if len(run) > 1:
        with contextlib.suppress(OSError):  # then each is asked for alone, and says what it has
            data = file.read(run[0] * SLOT_BYTES, len(run) * SLOT_BYTES)
    blocks = [data[at : at + SLOT_BYTES] for at in range(0, len(run) * SLOT_BYTES, SLOT_BYTES)]
    return [
        {"slot": slot, "data": block} if len(block) == SLOT_BYTES else _read_slot(file, slot)
        for slot, block in zip(run, blocks)
    ]


def _scan_chunk(file: directio.DirectFile, numbers: range) -> list[dict[str, Any]]:
    start = numbers[0] * SLOT_BYTES
    try:
        data = file.read(start, len(numbers) * SLOT_BYTES)
    except OSError:
        data = b""
    entries = []
    for slot in numbers:
        at = slot * SLOT_BYTES - start
        block = data[at : at + SLOT_BYTES]
        if len(block) < SLOT_BYTES:
            # The chunk broke off here: ask for this slot alone, so that one bad sector does
            # not hide its neighbours.
            entry = _read_slot(file, slot)
            if "error" in entry or any(entry["data"][:STATUS_BYTES]):
                entries.append(entry)
        elif any(block[:STATUS_BYTES]):
            entries.append({"slot": slot, "data": block})
    return entries


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "ping": ping,
    "read_slots": read_slots,
    "scan_slots": scan_slots,
    "write_slot": write_slot,
    **lease_file.OPERATIONS,
    **lockspace_ops.OPERATIONS,
    **member_ops.OPERATIONS,
    **register_ops.OPERATIONS,
    **sanlock_ops.OPERATIONS,
    **volume_ops.OPERATIONS,
    **conf_volume_ops.OPERATIONS,
    **folder_ops.OPERATIONS,
}


def answer(request: Any) -> dict[str, Any]:
    """Do what a decoded request asks; never raises. The shapes are in the module docstring."""
    number = request.get("id") if isinstance(request, dict) else None
    try:
        return {"id": number, "value": _perform(request)}
    except Exception as error:  # the dispatch of a process loop: any failure is an answer
        return {"id": number, "error": _describe(error)}


def _perform(request: Any) -> Any:
    if not isinstance(request, dict) or not isinstance(request.get("args"), dict):
        raise BadInput("request is not a map with id, operation and args")
    name = request.get("operation")
    if not isinstance(name, str) or name not in OPERATIONS:
        raise BadInput(f"unknown operation {name!r}")
    return OPERATIONS[name](**request["args"])


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, BadInput):
        return {"code": "bad_input", "message": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return {"code": name, "message": error.strerror or name}
    if isinstance(error, HaAgentError):
        return {"code": "fault", "message": str(error)}
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    return {"code": "internal", "message": f"{type(error).__name__}: {error}"}


def serve(requests_fd: int, answers_fd: int, lane: str = "") -> None:
    """Answer requests, one at a time and in order, until the requests end.

    Meanwhile the process's name tells whether it may be writing (`process_name`): who finds it
    hanging in the kernel can't ask it. Raises BadInput when the stream can't be followed any more
    (a frame over MAX_REQUEST_BYTES), and OSError when the answers can't be written.
    """
    meter = IoMeter()
    while True:
        head = _read_exact(requests_fd, _LENGTH.size)
        if head is None:
            return
        (length,) = _LENGTH.unpack(head)
        if length > MAX_REQUEST_BYTES:
            raise BadInput(f"request of {length} bytes, the limit is {MAX_REQUEST_BYTES}")
        body = _read_exact(requests_fd, length)
        if body is None:
            return
        before = meter.read()
        try:
            request = msgpack.unpackb(body, strict_map_key=False)
            reads = isinstance(request, dict) and request.get("operation") in _READS
            if not reads:
                _set_name(process_name(lane, writes=True))
            reply = answer(request)
            if not reads:
                _set_name(process_name(lane))
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            reply = {"id": None, "error": _describe(BadInput(f"not MessagePack: {error}"))}
        spent = meter.since(before)
        if spent is not None:
            reply["io"] = spent
        packed = _pack(reply)
        _write_all(answers_fd, _LENGTH.pack(len(packed)) + packed)


def _pack(reply: dict[str, Any]) -> bytes:
    try:
        return bytes(msgpack.packb(reply))
    except (TypeError, ValueError, OverflowError) as error:
        return bytes(msgpack.packb({"id": reply["id"], "error": _describe(error)}))


def _read_exact(fd: int, length: int) -> Optional[bytes]:
    data = b""
    while len(data) < length:
        try:
            piece = os.read(fd, length - len(data))
        except ConnectionResetError:
            return None  # the broker has gone, and an answer of ours was not read
        if not piece:
            return None
        data += piece
    return data


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def bind_to_parent(lane: str) -> None:
    """Die with the broker, name the process for `ps` and `top`, leave signals to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    # A parent that died before this line is noticed by the end of stdin.
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    _set_name(process_name(lane))


def process_name(lane: str, *, writes: bool = False) -> str:
    """Return the name a lane's worker has for `ps` and `top`, and while it may be writing."""
    return f"ha-io{'+' if writes else '-'}{lane}"[:_NAME_BYTES]


def _set_name(name: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def run(lane: str) -> int:
    """Be the worker of `lane` on stdin and stdout until they end; return the exit code."""
    bind_to_parent(lane)
    # Frames get a descriptor of their own, so that a stray print can't get in between.
    answers_fd = os.dup(1)
    os.dup2(2, 1)
    try:
        serve(0, answers_fd, lane)
    except BrokenPipeError:
        return 0  # the broker has gone
    return 0


def main() -> int:
    """Run the worker process on stdin and stdout."""
    parser = argparse.ArgumentParser(prog="storage_worker")
    parser.add_argument("--lane", required=True, help="whose calls these are, for people")
    parser.add_argument("--run-dir", required=True, help="the broker's run folder, for people")
    arguments = parser.parse_args()
    return run(arguments.lane)


if __name__ == "__main__":
    sys.exit(main())

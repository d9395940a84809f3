# SPDX-License-Identifier: Apache-2.0
"""The hosted engine's configuration volume: its archive, and how it is replaced at once.

This module decides which bytes go where and in what order; it writes nothing itself (that is
broker/store/conf_volume_ops.py).

Old tools read the volume (1 GiB, raw) by `dd | tar` from byte 0, so there the archive stays: a
plain tar of exactly 20,480 bytes with five files, in any order (facts/ovf-and-volumes.md, 4.2).
Five blocks of 4096 bytes can't be written at once, and a writer that is killed half way would
leave neither the old archive nor the new one. So a redo record stands further on in the volume,
where no old tool looks:

    offset 0       the archive, 20,480 bytes
    offset 65536   magic "ha-agent-redo 1\\n" (16 bytes), SHA-256 of all that follows (32 bytes),
                   zeros up to 4096
    offset 69632   the new archive, 20,480 bytes
    offset 90112   the archive that it replaces, 20,480 bytes

The order of a change; each step is on the storage before the next one begins:

    1. the record     from its last byte on, a reader has the new files; before, the old ones
    2. the archive    may be torn meanwhile: readers of this module take the record's
    3. zeros over the record's first block

A reader believes a record that is whole (its hash is right) while the archive is what step 2
leaves when it stops anywhere: each sector of 512 bytes is the old one or the new one. When it is
anything else, an old tool has written the volume since, and the record is out of date (but an old
tool that writes back the very bytes from before the change puts it in force again). A writer
that finds a record in force does steps 2 and 3 for it first: writing a new record over it would
leave nothing whole for a moment.

Old tools see a torn archive between the beginning and the end of step 2, as they do with each
other's writes. On file storage they cut the volume to 20,480 bytes with each write of theirs,
record and all, which a reader takes for no record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.tar_volume import (
    BLOCK_BYTES,
    END_BYTES,
    encode_header,
    list_members,
    read_members,
)

ARCHIVE_BYTES = 20480
RECORD_OFFSET = 64 * 1024
RECORD_HEAD_BYTES = 4096
RECORD_BYTES = RECORD_HEAD_BYTES + 2 * ARCHIVE_BYTES
FILE_NAMES = ("version", "fhanswers.conf", "hosted-engine.conf", "broker.conf", "vm.conf")
"""In the order in which the predecessor writes them; readers must not rely on one."""

_MAGIC = b"ha-agent-redo 1\n"
_HASH_BYTES = 32

Write = tuple[int, bytes]
"""An offset and the bytes to write there: whole blocks of 4096 at a multiple of 4096."""


def decode_conf_volume(data: bytes, *, where: str) -> dict[str, bytes]:
    """Return the files in an archive by name, whatever their order; `name_notes` judges them.

    `data` is the archive, or more of the volume. Raises BadInput with the byte offset when the
    archive is damaged, and for a volume that was never written.
    """
    data = data[:ARCHIVE_BYTES]

    def read_at(offset: int, length_bytes: int) -> bytes:
        return data[offset : offset + length_bytes]

    members = list_members(read_at, len(data), where=where, first_member=None)
    if not members:
        raise BadInput("empty: no configuration has been written here", where=where, offset=0)
    names = [member.name for member in members]
    return read_members(read_at, len(data), names, where=where, first_member=None)


def name_notes(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return a sentence for each of the five files that is missing, and for each other one."""
    missing = [f"file {name} is missing" for name in FILE_NAMES if name not in files]
    extra = [f"file {name!r} is none of the five" for name in files if name not in FILE_NAMES]
    return tuple(missing + extra)


def encode_conf_volume(files: Mapping[str, bytes], written_at: WallTime) -> bytes:
    """Return the archive of these files: exactly 20,480 bytes, the five in their usual order.

    Files that are none of the five are kept, behind them. Raises BadInput when one of the five is
    missing (old tools refuse such a volume), for a name that an archive can't have, and, with
    the size of each, when the files don't fit.
    """
    missing = [name for name in FILE_NAMES if name not in files]
    if missing:
        raise BadInput(f"the configuration volume needs {', '.join(missing)}")
    names = [*FILE_NAMES, *(name for name in files if name not in FILE_NAMES)]
    try:
        parts = [
            encode_header(name, len(files[name]), written_at)
            + files[name]
            + bytes(-len(files[name]) % BLOCK_BYTES)
            for name in names
        ]
    except ValueError as error:
        raise BadInput(str(error)) from None
    archive = b"".join(parts)
    if len(archive) + END_BYTES > ARCHIVE_BYTES:
        sizes = ", ".join(f"{name} {len(files[name])}" for name in names)
        room = ARCHIVE_BYTES - END_BYTES - BLOCK_BYTES * len(names)
        raise BadInput(
            f"the files don't fit the configuration volume's {room} bytes (each file counts in"
            f" whole {BLOCK_BYTES}s): {sizes}"
        )
    archive = archive.ljust(ARCHIVE_BYTES, b"\0")
    # What a reader would refuse, such as a name that leads out, must not get onto the storage.
    decode_conf_volume(archive, where="new configuration volume")
    return archive


def current_archive(archive: bytes, record: bytes) -> tuple[bytes, bool]:
    """Return the archive that counts, and whether it is the one in a redo record.

    `archive` is what the volume holds from byte 0, `record` what it holds from RECORD_OFFSET:
    ARCHIVE_BYTES and RECORD_BYTES of it, or less where the storage ends. The archive itself is
    not judged.
    """
    archive = _whole(archive)
    if len(record) < RECORD_BYTES or not record.startswith(_MAGIC):
        return archive, False
    digest = record[len(_MAGIC) : len(_MAGIC) + _HASH_BYTES]
    body = record[RECORD_HEAD_BYTES:RECORD_BYTES]
    if hashlib.sha256(body).digest() != digest:
        return archive, False
    new, old = body[:ARCHIVE_BYTES], body[ARCHIVE_BYTES:]
    for start in range(0, ARCHIVE_BYTES, BLOCK_BYTES):
        sector = slice(start, start + BLOCK_BYTES)
        if archive[sector] not in (new[sector], old[sector]):
            return archive, False
    return new, True


def plan_writes(archive: bytes, record: bytes, new: bytes) -> Sequence[Write]:
    """Return the writes that replace the archive by `new`, in order.

    The first two arguments are what `current_archive` takes. Each write must be on the storage
    before the next one is begun. `new` is what `encode_conf_volume` returns.
    """
    if len(new) != ARCHIVE_BYTES:
        raise ValueError(f"an archive of {len(new)} bytes, not {ARCHIVE_BYTES}")
    current, is_pending = current_archive(archive, record)
    clear = (RECORD_OFFSET, bytes(RECORD_HEAD_BYTES))
    writes: list[Write] = [(0, current), clear] if is_pending else []
    if new != current:
        writes += [(RECORD_OFFSET, _encode_record(new, current)), (0, new), clear]
    return writes


def _encode_record(new: bytes, old: bytes) -> bytes:
    body = new + old
    head = _MAGIC + hashlib.sha256(body).digest()
    return head.ljust(RECORD_HEAD_BYTES, b"\0") + body


def _whole(archive: bytes) -> bytes:
    # A volume that ends early reads as if zeros followed: that is what extending it makes of it.
    return archive[:ARCHIVE_BYTES].ljust(ARCHIVE_BYTES, b"\0")

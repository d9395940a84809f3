# SPDX-License-Identifier: Apache-2.0
"""Where the ownership lease lies for sanlock, and how its first record is read. Pure.

One file, or one block device (such as an LV), that all hosts share:

    0 MiB    the lockspace: a delta lease for each host id
    1 MiB    the ownership resource of the engine VM: a paxos lease
    2 MiB    end

sanlock decides with the daemon who holds what; we only look, and looking is one sector of the
resource, its "leader record" (sanlock's leader.h, also described in sanlock(8), "Disk"), little
endian:

    0  u32 magic       12 u32 sector size   32 u64 owner's host id    56  48 bytes lockspace name
    4  u32 version     16 u64 num_hosts     40 u64 owner's generation 104 48 bytes resource name
    8  u32 flags       24 u64 max_hosts     48 u64 lver               152 u64 timestamp, 0: free

`lver` is raised by each acquire and is our epoch. Released, the record keeps who held it last.
The checksum is not looked at: nothing is decided here that the daemon does not check once more.

Of two hosts that acquire at once, the one that does not get it may be the one that writes the
record, with the other's host id: the writer's is at 176, u64. The owner's release leaves such a
record as it is, for fear of overwriting the next owner's, and sets a flag in its own block: host
id N has sector N + 1 of the resource, flags at 52, u32, bit 0: released. Other hosts' daemons
look there when they acquire, if writer and owner differ, and so do we: the record alone would
say "held" for as long as the former owner lives. (sanlock 3.8.5, paxos_lease_release and
paxos_lease_acquire.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from ha_agent.errors import BadInput

ALIGN_BYTES = 1024 * 1024
LOCKSPACE_OFFSET = 0
RESOURCE_OFFSET = ALIGN_BYTES
PLACE_BYTES = 2 * ALIGN_BYTES
MAX_HOST_ID = {512: 2000, 4096: 250}
"""Host ids that fit into 1 MiB by sector size: sanlock(8), "Storage"."""

LEADER_BYTES = 512
_LEADER = struct.Struct("<IIIIQQQQQ48s48sQ")
_RESOURCE_MAGIC = 0x06152010
_WRITER_ID = struct.Struct("<176xQ")
OWNER_BLOCK_BYTES = 64
_BLOCK_FLAGS = struct.Struct("<52xI")
_RELEASED = 1


class NotInitialised(BadInput):
    """There are only zeros: nobody has initialised this place."""


@dataclass(frozen=True)
class Leader:
    """The leader record of the ownership resource; `held` is what storage says, the owner's block
    included, and may be of a host that has died since."""

    sector_bytes: int
    host_id: int
    generation: int
    epoch: int
    lockspace: str
    resource: str
    held: bool


def owner_block_offset(record: bytes) -> Optional[int]:
    """Say where in the resource the owner's block lies, if it is needed to tell whether the lease
    is held; None where the record alone tells, or is no record. Any bytes will do."""
    if len(record) < LEADER_BYTES:
        return None
    fields = _LEADER.unpack_from(record)
    magic, sector_bytes, owner_id, held = fields[0], fields[3], fields[6], fields[11] != 0
    (writer_id,) = _WRITER_ID.unpack_from(record)
    if magic != _RESOURCE_MAGIC or not held or writer_id == owner_id:
        return None
    if not 1 <= owner_id <= MAX_HOST_ID.get(sector_bytes, 0):
        return None
    return int((owner_id + 1) * sector_bytes)


def decode_leader(data: bytes, where: str) -> Leader:
    """Read the first LEADER_BYTES of the resource, and the owner's block if that follows them.

    Raises NotInitialised for zeros or a file that ends before, BadInput for anything that is not
    a resource of sanlock.
    """
    sector, owner_block = data[:LEADER_BYTES], data[LEADER_BYTES:]
    if not sector.strip(b"\0"):
        raise NotInitialised(
            "all zeros: nobody has initialised the ownership lease here (initialise it once, on"
            " one host)",
            where=where,
        )
    if len(sector) < LEADER_BYTES:
        raise BadInput(f"{len(sector)} bytes in place of a resource of sanlock", where=where)
    fields = _LEADER.unpack_from(sector)
    if fields[0] != _RESOURCE_MAGIC:
        raise BadInput(f"not a resource of sanlock: it begins {sector[:8]!r}", where=where)
    return Leader(
        sector_bytes=fields[3],
        host_id=fields[6],
        generation=fields[7],
        epoch=fields[8],
        lockspace=_text(fields[9]),
        resource=_text(fields[10]),
        held=fields[11] != 0 and not _is_released(owner_block),
    )


def _is_released(owner_block: bytes) -> bool:
    if len(owner_block) < OWNER_BLOCK_BYTES:
        return False
    return bool(_BLOCK_FLAGS.unpack_from(owner_block)[0] & _RELEASED)


def host_id_fault(host_id: int, sector_bytes: int) -> str:
    """Say why this host id does not fit a lockspace with such sectors; "" when it does."""
    limit = MAX_HOST_ID.get(sector_bytes)
    if limit is None:
        return f"sectors of {sector_bytes} bytes are not known; sanlock has 512 and 4096"
    if host_id <= limit:
        return ""
    return (
        f"host id {host_id} is above {limit}, the highest that fits a lockspace of sanlock with"
        f" sectors of {sector_bytes} bytes"
    )


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "replace")

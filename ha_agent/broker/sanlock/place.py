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
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

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


class NotInitialised(BadInput):
    """There are only zeros: nobody has initialised this place."""


@dataclass(frozen=True)
class Leader:
    """The leader record of the ownership resource; `held` is what storage says, and may be of
    a host that has died since."""

    sector_bytes: int
    host_id: int
    generation: int
    epoch: int
    lockspace: str
    resource: str
    held: bool


def decode_leader(sector: bytes, where: str) -> Leader:
    """Read the first LEADER_BYTES of the resource.

    Raises NotInitialised for zeros or a file that ends before, BadInput for anything that is not
    a resource of sanlock.
    """
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
        held=fields[11] != 0,
    )


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

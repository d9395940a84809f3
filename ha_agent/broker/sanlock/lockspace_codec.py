# SPDX-License-Identifier: Apache-2.0
"""sanlock's lockspace as it stands on storage: one host lease ("delta lease") a sector. Pure.

It is read beside the daemon, to tell who holds what also where no daemon answers, and to prove
before a repair that nobody does. It must not be used to take anything: that is the daemon's.

The sector of host id n begins at (n - 1) * sector size, in 1 MiB. Little endian (sanlock's
leader.h; sanlock(8), "Storage"):

    0  u32 magic, 0x12212010   32 u64 the host id, once it was used   56  48 bytes lockspace name
    4  u32 version             40 u64 generation: raised by each join 104 48 bytes daemon's name
    8  u32 flags               48 u64 lver                            152 u64 time of renewal, by
    12 u32 sector size         24 u64 host id's number                    its own clock; 0: free
    168 u32 CRC-32C of bytes 0..167, begun with ~1                    174 u16 io_timeout
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.sanlock.place import NotInitialised
from ha_agent.errors import BadInput

LOCKSPACE_BYTES = 1024 * 1024
_RECORD = struct.Struct("<IIIIQQQQQ48s48sQQIHH")
_MAGIC = 0x12212010
_CHECKED_BYTES = 168
_CRC_START = 0xFFFFFFFE
_CRC_POLYNOMIAL = 0x82F63B78
SECTORS = (512, 4096)


@dataclass(frozen=True)
class HostLease:
    """One host id. `problem` is "" for a sound record; else only `host_id` means something.

    `daemon` is how sanlock calls the host that had it last, by default a random UUID.
    """

    host_id: int
    lockspace: str = ""
    daemon: str = ""
    generation: int = 0
    timestamp: int = 0
    io_timeout_seconds: int = 0
    sector_bytes: int = 0
    problem: str = ""

    @property
    def is_free(self) -> bool:
        """Whether nobody holds the host id."""
        return not self.problem and self.timestamp == 0


def first_sound(data: bytes) -> Optional[HostLease]:
    """Return the first record that can be read; None where there is none."""
    for size in SECTORS:
        for start in range(0, len(data) - _RECORD.size, size):
            lease = decode(data[start : start + size], start // size + 1)
            if lease.sector_bytes == size:
                return lease
    return None


def sector_bytes_of(data: bytes) -> int:
    """Return the sector size that the first sound record names; 512 where there is none."""
    lease = first_sound(data)
    return SECTORS[0] if lease is None else lease.sector_bytes


def sector_bytes_to_join(data: bytes, lockspace: str, where: str) -> int:
    """Return the sector size of the lockspace with this name. One bad record is its host's
    trouble only. Raises NotInitialised for zeros, BadInput for what is not that lockspace."""
    lease = first_sound(data)
    if lease is None and not any(data):
        raise NotInitialised("all zeros: nobody has initialised the lockspace here", where=where)
    if lease is None:
        raise BadInput(f"not a lockspace of sanlock: it begins {data[:8]!r}", where=where)
    if lease.lockspace != lockspace:
        raise BadInput(
            f"it is the lockspace {lease.lockspace!r}, expected {lockspace!r}", where=where
        )
    return lease.sector_bytes


def decode(sector: bytes, host_id: int) -> HostLease:
    """Read one sector; what can't be used is a problem in the result."""
    if not sector.strip(b"\0"):
        return HostLease(host_id, problem="all zeros: not initialised")
    if len(sector) < _RECORD.size:
        return HostLease(host_id, problem="cut off")
    fields = _RECORD.unpack_from(sector)
    if fields[0] != _MAGIC:
        return HostLease(host_id, problem=f"no lease of sanlock: it begins {sector[:8]!r}")
    if _crc32c(sector[:_CHECKED_BYTES]) != fields[13]:
        return HostLease(host_id, problem="its checksum is wrong")
    return HostLease(
        host_id,
        lockspace=_text(fields[9]),
        daemon=_text(fields[10]),
        generation=fields[7],
        timestamp=fields[11],
        io_timeout_seconds=fields[15],
        sector_bytes=fields[3],
    )


def _text(name: bytes) -> str:
    text = name.partition(b"\0")[0].decode("utf-8", "replace")
    return text if text.isprintable() else repr(text)


def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _make_table()


def _crc32c(data: bytes) -> int:
    crc = _CRC_START
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc

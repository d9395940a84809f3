# SPDX-License-Identifier: Apache-2.0
"""What VDSM answers about storage servers, devices, space and migrations, as values. Pure.

As answers.py: tolerant of unknown, missing and odd fields, BadInput for another shape altogether.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.client.answers import as_object, as_objects, integer, text
from ha_agent.vdsm.errors import code_name

_TARGET = re.compile(r"(?P<portal>\S+),(?P<tpgt>-?\d+)\s+(?P<iqn>\S+)")


@dataclass(frozen=True)
class ConnectionStatus:
    """One connection from connectStorageServer or disconnectStorageServer; `code` 0 is good."""

    connection_id: str
    code: int

    @property
    def why(self) -> str:
        """Return what the code says, "" for a good one."""
        return f"code {self.code}, {code_name(self.code)}" if self.code else ""


@dataclass(frozen=True)
class DomainSpace:
    """From StorageDomain.getStats. None: not said."""

    total_bytes: Optional[int]
    free_bytes: Optional[int]


@dataclass(frozen=True)
class BlockDevice:
    """One LUN from Host.getDeviceList. `paths_up` of `paths` are those that multipath calls
    active; 0 of 0 where VDSM does not say."""

    guid: str
    kind: str
    capacity_bytes: Optional[int]
    paths: int
    paths_up: int


@dataclass(frozen=True)
class IscsiTarget:
    """One portal of one target from ISCSIConnection.discoverSendTargets."""

    portal: str
    tpgt: int
    iqn: str


@dataclass(frozen=True)
class MigrationStatus:
    """From VM.getMigrationStatus, on the source. None: not said."""

    progress_percent: Optional[int]
    downtime_ms: Optional[int]


def read_connection_statuses(answer: Any) -> list[ConnectionStatus]:
    """Read StoragePool.connectStorageServer and disconnectStorageServer."""
    statuses = []
    for value in as_objects(answer):
        code = integer(value.get("status"))
        if code is None:
            raise BadInput("a connection without status")
        statuses.append(ConnectionStatus(text(value.get("id")), code))
    return statuses


def read_domain_space(answer: Any) -> DomainSpace:
    """Read StorageDomain.getStats: bytes, as text."""
    stats = as_object(answer)
    return DomainSpace(integer(stats.get("disktotal")), integer(stats.get("diskfree")))


def read_devices(answer: Any) -> list[BlockDevice]:
    """Read Host.getDeviceList: GUID, devtype, capacity as text, pathstatus a list of objects with
    a `state` (vdsm's lib/vdsm/api/vdsm-api.yml, BlockDeviceInfo). One without GUID is left out.
    """
    devices = []
    for value in as_objects(answer):
        guid = text(value.get("GUID"))
        paths = value.get("pathstatus")
        states = [
            path.get("state")
            for path in (paths if isinstance(paths, list) else ())
            if isinstance(path, Mapping)
        ]
        if guid:
            capacity = integer(value.get("capacity"))
            kind = text(value.get("devtype"))
            devices.append(BlockDevice(guid, kind, capacity, len(states), states.count("active")))
    return devices


def read_targets(answer: Any) -> list[IscsiTarget]:
    """Read ISCSIConnection.discoverSendTargets: texts "host:port,tpgt iqn"; others are skipped."""
    if not isinstance(answer, list):
        raise BadInput(f"{type(answer).__name__} where a list belongs")
    matches = (_TARGET.fullmatch(line) for line in answer if isinstance(line, str))
    return [IscsiTarget(m["portal"], int(m["tpgt"]), m["iqn"]) for m in matches if m]


def read_migration_status(answer: Any) -> MigrationStatus:
    """Read VM.getMigrationStatus: an object with progress and downtime, as the event
    VM_migration_status has them (facts 1.4); facts say nothing of the verb's own answer."""
    status = as_object(answer)
    return MigrationStatus(integer(status.get("progress")), integer(status.get("downtime")))

# SPDX-License-Identifier: Apache-2.0
"""How the engine's API describes the storage that our configuration has VDSM connect. Pure.

VDSM takes a "connection" in one text, the API an address and a path (HostStorage of the API
model); the engine joins them again with a colon (StorageDomainMapper). What is imported must be
the same text in the end, or VDSM would mount the export a second time.

    NFS, GlusterFS    type, address, path, nfs_version or vfs_type, mount_options
    POSIX             type, path (all of it), vfs_type, mount_options
    local             type, path
    iSCSI, FC         type only: the engine looks for the domain among the volume groups that the
                      host sees (addExistingSAN), and so the host has to be logged in already
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

from ha_agent.engine.views import Connection
from ha_agent.errors import BadInput
from ha_agent.vdsm.client.storage_server import DomainType, StorageServer

_TYPES = {
    DomainType.NFS: "nfs",
    DomainType.FCP: "fcp",
    DomainType.ISCSI: "iscsi",
    DomainType.LOCALFS: "localfs",
    DomainType.POSIXFS: "posixfs",
    DomainType.GLUSTERFS: "glusterfs",
}
_WITH_ADDRESS = (DomainType.NFS, DomainType.GLUSTERFS)


def host_storage(server: StorageServer) -> Mapping[str, str]:
    """Return the fields of HostStorage, by the model's names. Raises BadInput."""
    kind = _TYPES.get(server.domain_type)
    if kind is None:
        raise BadInput(
            f"{server.domain_type.name} is no type of storage that is imported", where="[storage]"
        )
    found = {"type": kind}
    if server.domain_type.is_block:
        return found
    fields = {key: str(value) for key, value in server.connections[0].fields.items()}
    source = fields["connection"]
    if server.domain_type in _WITH_ADDRESS:
        # An IPv6 address has colons, too, and stands in brackets; a path of Gluster may be bare.
        head, bracket, rest = source.partition("]")
        address, _, path = (rest or source).partition(":")
        found["address"] = head + bracket if bracket else address
        found["path"] = path
    else:
        found["path"] = source
    if "protocol_version" in fields:
        found["nfs_version"] = "v" + fields["protocol_version"].replace(".", "_")
    for key in ("vfs_type", "mnt_options"):
        if key in fields:
            found["mount_options" if key == "mnt_options" else key] = fields[key]
    return found


def same_connection(
    known: Iterable[Connection], storage: Mapping[str, str]
) -> Optional[Connection]:
    """Return the engine's own connection to that storage, if it keeps one.

    It does where an import was cut off between its two halves, or the domain was removed; a
    second one to the same place is refused by the engine.
    """
    if "path" not in storage:
        return None
    wanted = (storage["type"], storage.get("address", ""), storage["path"])
    for one in known:
        if (one.type, one.address, one.path) == wanted:
            return one
    return None

# SPDX-License-Identifier: Apache-2.0
"""A storage server as VDSM wants it: the domain type and the connection objects. Pure.

`nfs`, `glusterfs`, ... make the connections of one storage domain from what an administrator
writes down; StoragePool.connectStorageServer takes them as they are. Key names are those of
facts 2 and of vdsm's storage/storageServer.py:

    NFS              connection "server:/export", protocol_version "3" "4" "4.1" ..., mnt_options
    POSIX, Gluster   connection, vfs_type, mnt_options (Gluster's further servers are the mount
                     option backup-volfile-servers=...)
    iSCSI            connection (address), port, iqn, tpgt, user, password: one for each portal
    FC               only "id": nothing is connected, but VDSM looks for devices anew
    LOCALFS          connection: a directory

An id tells connections apart in VDSM's answer. The first has the id that oVirt's set-up gave it;
further portals have ids made from that one, so that the one that failed can be named.
Passwords are in `fields` only: neither repr() nor `name` shows them.
"""

from __future__ import annotations

import enum
import posixpath
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.errors import BadInput

DEFAULT_CONNECTION_ID = "e29cf818-5ee5-46e1-85c1-8aeefa33e95d"
"""What oVirt's set-up calls the hosted engine's connection on every installation."""

ISCSI_PORT = 3260
NFS_VERSIONS = ("3", "4", "4.0", "4.1", "4.2")

_PORTAL = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(\d{1,5}))?"
)
_IQN = re.compile(r"(iqn|eui|naa)\.[!-~]{1,219}")


class DomainType(enum.IntEnum):
    """Storage domain types as they travel (vdsm's storage/sd.py); a name gives code 451."""

    NFS = 1
    FCP = 2
    ISCSI = 3
    LOCALFS = 4
    CIFS = 5
    POSIXFS = 6
    GLUSTERFS = 7

    @property
    def is_block(self) -> bool:
        """Tell whether its volumes are block devices."""
        return self in (DomainType.FCP, DomainType.ISCSI)


@dataclass(frozen=True)
class Connection:
    """One connection. `name` is what a person calls it; `fields` is VDSM's object."""

    name: str
    fields: Mapping[str, object] = field(repr=False)

    @property
    def id(self) -> str:
        """What VDSM's answer calls it."""
        return str(self.fields["id"])


@dataclass(frozen=True)
class Portal:
    """Where an iSCSI target is reached."""

    address: str
    port: int = ISCSI_PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class StorageServer:
    """All connections of one storage domain, of one type; at least one."""

    domain_type: DomainType
    connections: tuple[Connection, ...]

    def name_of(self, connection_id: str) -> str:
        """Return the name of the connection with that id, or the id where there is none."""
        names = (one.name for one in self.connections if one.id == connection_id)
        return next(names, connection_id)


def nfs(
    source: str, version: str, options: str = "", *, connection_id: str = DEFAULT_CONNECTION_ID
) -> StorageServer:
    """Return an NFS server. VDSM splits the version at its dot, so "4.1", never "4_1".

    Version "auto" is not taken: where the server only has version 3 VDSM mounts it with local
    locks (storageServer.py, NFSConnection), and two hosts may hold the same lock then.
    Raises BadInput, as all of these do.
    """
    if version not in NFS_VERSIONS:
        raise BadInput(
            f"{version[:20]!r} is none of {', '.join(NFS_VERSIONS)}", where="NFS version"
        )
    fields = {"protocol_version": version, **_mount_options(options)}
    return _mounted(DomainType.NFS, _export(source), fields, connection_id)


def glusterfs(
    source: str, options: str = "", *, connection_id: str = DEFAULT_CONNECTION_ID
) -> StorageServer:
    """Return a Gluster volume, "server:/volume" or "server:volume"."""
    if ":" not in source:
        raise BadInput(f"{source[:80]!r} is not server:/volume", where="storage")
    fields = {"vfs_type": "glusterfs", **_mount_options(options)}
    return _mounted(DomainType.GLUSTERFS, _plain(source), fields, connection_id)


def posixfs(
    source: str, vfs_type: str, options: str = "", *, connection_id: str = DEFAULT_CONNECTION_ID
) -> StorageServer:
    """Return whatever mount(8) knows as `vfs_type`, such as "ceph"."""
    if not re.fullmatch(r"[a-z0-9._-]{1,32}", vfs_type):
        raise BadInput(f"{vfs_type[:32]!r} is no type of a file system", where="vfs_type")
    fields = {"vfs_type": vfs_type, **_mount_options(options)}
    return _mounted(DomainType.POSIXFS, _plain(source), fields, connection_id)


def localfs(path: str, *, connection_id: str = DEFAULT_CONNECTION_ID) -> StorageServer:
    """Return a directory of this host: one host only."""
    if not path.startswith("/"):
        raise BadInput(f"{path[:80]!r} is no absolute path", where="storage")
    return _mounted(DomainType.LOCALFS, posixpath.normpath(path), {}, connection_id)


def iscsi(
    portals: Iterable[Portal],
    iqn: str,
    *,
    tpgt: Optional[int] = None,
    user: str = "",
    password: str = "",
    connection_id: str = DEFAULT_CONNECTION_ID,
) -> StorageServer:
    """Return an iSCSI target, logged in to at each of its portals.

    `tpgt` is the target portal group, 1 where it is not given (VDSM's default). User and
    password are CHAP's; both or none.
    """
    if not _IQN.fullmatch(iqn):
        raise BadInput(f"{iqn[:80]!r} is no iSCSI name", where="iqn")
    if bool(user) != bool(password):
        raise BadInput("CHAP needs both a user and a password", where="iscsi")
    more: dict[str, object] = {} if tpgt is None else {"tpgt": str(tpgt)}
    if user:
        more.update(user=user, password=password)
    connections: list[Connection] = []
    for portal in dict.fromkeys(portals):
        one_id = connection_id if not connections else _further_id(connection_id, str(portal))
        fields = {"id": one_id, "connection": portal.address, "port": str(portal.port), "iqn": iqn}
        connections.append(Connection(f"portal {portal}", {**fields, **more}))
    if not connections:
        raise BadInput("no portal", where="iscsi")
    return StorageServer(DomainType.ISCSI, tuple(connections))


def fc(*, connection_id: str = DEFAULT_CONNECTION_ID) -> StorageServer:
    """Return Fibre Channel, where the fabric decides what is connected."""
    only = Connection("Fibre Channel", {"id": connection_id})
    return StorageServer(DomainType.FCP, (only,))


def parse_portals(text: str, ports: str = "") -> tuple[Portal, ...]:
    """Read "address", "address:port" or "[IPv6]:port", comma-separated.

    `ports`, where given, are the ports in the same order (hosted-engine.conf's form), one for
    each or one for all. Raises BadInput.
    """
    found = []
    for part in (part.strip() for part in text.split(",")):
        match = _PORTAL.fullmatch(part)
        if match is None and re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", part):
            found.append(Portal(part))  # IPv6 without brackets, and so without a port
            continue
        if match is None:
            raise BadInput(f"{part[:80]!r} is not ADDRESS or ADDRESS:PORT", where="portal")
        port = _port(match[3]) if match[3] else ISCSI_PORT
        found.append(Portal(match["v6"] or match["host"], port))
    given = [_port(part.strip()) for part in ports.split(",")] if ports else []
    if len(given) == 1:
        given *= len(found)
    if given and len(given) != len(found):
        raise BadInput(f"{len(found)} portals, but {len(given)} ports", where="port")
    return tuple(
        Portal(one.address, port) for one, port in zip(found, given or [p.port for p in found])
    )


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise BadInput(f"{text[:20]!r} is no port, 1 to 65535", where="port")
    return int(text)


def _further_id(connection_id: str, name: str) -> str:
    try:
        return str(uuid.uuid5(uuid.UUID(connection_id), name))
    except ValueError:
        raise BadInput(f"{connection_id[:40]!r} is no UUID", where="connection id") from None


def _export(source: str) -> str:
    server, colon, path = source.rpartition(":")
    if not colon or not server or not path.startswith("/"):
        raise BadInput(f"{source[:80]!r} is not server:/export", where="storage")
    # VDSM makes the mount point's name from this text: with a slash at its end, or with two, the
    # same export would be mounted twice (BZ 1300749).
    return f"{server}:{_plain(path)}"


def _plain(path: str) -> str:
    server, colon, rest = path.rpartition(":")
    return server + colon + re.sub(r"//+", "/", rest).rstrip("/") if rest.strip("/") else path


def _mount_options(options: str) -> dict[str, object]:
    if not re.fullmatch(r"[!-~]*", options):
        raise BadInput("has blanks or other characters that no option has", where="mount options")
    return {"mnt_options": options} if options else {}


def _mounted(
    kind: DomainType, source: str, fields: Mapping[str, object], connection_id: str
) -> StorageServer:
    if not re.fullmatch(r"[!-~]+", source):
        raise BadInput(f"{source[:80]!r} has blanks or other odd characters", where="storage")
    connection = Connection(source, {"id": connection_id, "connection": source, **fields})
    return StorageServer(kind, (connection,))

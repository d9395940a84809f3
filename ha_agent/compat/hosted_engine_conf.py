# SPDX-License-Identifier: Apache-2.0
"""The predecessor's hosted-engine.conf: what it says of the storage. Pure: text in, values out.

The file is /etc/ovirt-hosted-engine/hosted-engine.conf, written by oVirt's set-up and by the
engine, and sourced by shell scripts (facts/ovf-and-volumes.md, 4.1):

    key=value            one a line; blank lines and lines that begin with # are skipped

Strict, where the predecessor took whatever had a "=" in it: a line of another form, a key that
is there twice, a value that can't be one is a BadInput with file and line. A value is taken as
it stands, no quotes are removed: neither did the predecessor. "None" is no value: its set-up
wrote that for what it did not have (BZ 1367732). A line may end as Windows ends lines. Of all
keys the values are kept; this module knows those of the storage, legacy_keys.py all of them.

    domainType           nfs, nfs3, nfs4, glusterfs, iscsi, fc
    storage              server:/path; of iSCSI the portals' addresses, comma-separated
    nfs_version          auto, v3, v4, v4_0, v4_1, v4_2 (domainType nfs); mnt_options
    iqn, port, portal    of iSCSI; port has a number for each address, portal is the tpgt
    user, password       CHAP
    connectionUUID, sdUUID, spUUID
    {metadata,lockspace,conf}_{image,volume}_UUID, vm_disk_id and vm_disk_vol_id
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.client import storage_server
from ha_agent.vdsm.client.storage_server import DEFAULT_CONNECTION_ID, NFS_VERSIONS, StorageServer

MAX_BYTES = 64 * 1024
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Name of a volume, and the keys of its image and of itself.
_VOLUMES = {
    "metadata": ("metadata_image_UUID", "metadata_volume_UUID"),
    "lockspace": ("lockspace_image_UUID", "lockspace_volume_UUID"),
    "conf": ("conf_image_UUID", "conf_volume_UUID"),
    "vm_disk": ("vm_disk_id", "vm_disk_vol_id"),
}
DOMAIN_TYPES = ("nfs", "nfs3", "nfs4", "glusterfs", "iscsi", "fc")


@dataclass(frozen=True)
class HostedEngineConf:
    """The file's pairs; those without a value are left out. `lines` has each key's line."""

    where: str
    values: Mapping[str, str] = field(repr=False)  # a password is among them
    lines: Mapping[str, int] = field(repr=False)

    def fault(self, key: str, what: str) -> BadInput:
        """Return the error that names `key`, and the line where it is there."""
        line = self.lines.get(key)
        return BadInput(f"{key}: {what}", where=self.where, offset=line, unit="line")

    def text(self, key: str) -> str:
        """Return a value. Raises BadInput when it is missing."""
        value = self.values.get(key, "")
        if not value:
            raise self.fault(key, "is missing")
        return value

    def uuid(self, key: str) -> str:
        """Return a UUID in lower case. Raises BadInput."""
        value = self.text(key).lower()
        if not _UUID.fullmatch(value):
            raise self.fault(key, f"{value[:60]!r} is no UUID")
        return value

    @property
    def domain_type(self) -> str:
        """The storage's type, one of DOMAIN_TYPES. Raises BadInput."""
        value = self.text("domainType")
        if value not in DOMAIN_TYPES:
            known = ", ".join(DOMAIN_TYPES)
            raise self.fault("domainType", f"{value[:20]!r} is none of {known}")
        return value

    def volumes(self) -> dict[str, tuple[str, str]]:
        """Return image and volume of metadata, lockspace, conf and vm_disk, of those that are
        named. Raises BadInput, also where there is an image without a volume."""
        return {
            name: (self.uuid(keys[0]), self.uuid(keys[1]))
            for name, keys in _VOLUMES.items()
            if any(key in self.values for key in keys)
        }


def parse(text: str, where: str) -> HostedEngineConf:
    """Read the file's text. Raises BadInput with `where` and the line."""
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        # The text itself is not told: it may hold the password.
        if match is None or not match[2].isprintable():
            raise BadInput("is not KEY=VALUE", where=where, offset=number, unit="line")
        key, value = match[1], match[2].strip()
        if key in lines:
            what = f"{key}: is there already, in line {lines[key]}"
            raise BadInput(what, where=where, offset=number, unit="line")
        lines[key] = number
        if value and value != "None":
            values[key] = value
    return HostedEngineConf(where, values, lines)


def server_of(conf: HostedEngineConf, nfs_version: str) -> StorageServer:
    """Return the storage server. `nfs_version` counts where the file says "auto" or nothing.

    Raises BadInput with file and line.
    """
    kind = conf.domain_type
    connection_id = DEFAULT_CONNECTION_ID
    if "connectionUUID" in conf.values:
        connection_id = conf.uuid("connectionUUID")
    if kind == "fc":
        return storage_server.fc(connection_id=connection_id)
    options = conf.values.get("mnt_options", "")
    source = conf.text("storage")
    try:
        if kind == "iscsi":
            return _iscsi(conf, source, connection_id)
        if kind == "glusterfs":
            return storage_server.glusterfs(source, options, connection_id=connection_id)
        version = nfs_version_of(conf) or nfs_version
        return storage_server.nfs(source, version, options, connection_id=connection_id)
    except BadInput as fault:
        if fault.where.startswith(conf.where):
            raise
        raise conf.fault("storage", str(fault)) from None


def _iscsi(conf: HostedEngineConf, source: str, connection_id: str) -> StorageServer:
    tpgt: Optional[int] = None
    if "portal" in conf.values:
        if not re.fullmatch(r"[0-9]{1,5}", conf.values["portal"]):
            raise conf.fault("portal", "is no target portal group, a number")
        tpgt = int(conf.values["portal"])
    return storage_server.iscsi(
        storage_server.parse_portals(source, conf.values.get("port", "")),
        conf.text("iqn"),
        tpgt=tpgt,
        user=conf.values.get("user", ""),
        password=conf.values.get("password", ""),
        connection_id=connection_id,
    )


def nfs_version_of(conf: HostedEngineConf) -> str:
    """Return the version that the file asks for, "" for auto. Raises BadInput."""
    kind = conf.domain_type
    word = conf.values.get("nfs_version", "auto")
    version = "" if word == "auto" else word[1:] if word.startswith("v") else word
    version = version.replace("_", ".")
    if version and version not in NFS_VERSIONS:
        raise conf.fault("nfs_version", f"{word[:20]!r} is no version of NFS")
    if kind == "nfs":
        return version
    major = kind[-1]
    if version and not version.startswith(major):
        raise conf.fault("nfs_version", f"{word!r}, but domainType is {kind}")
    return version or major

# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM's StorageDomain.create: a data domain in a directory that is connected.

Checked as VDSM checks it (its storage/localFsSD.py and nfsSD.py): the place is mounted (360), no
other domain is in it (361), nor this one (365); versions 3 to 5 are data domains'.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from ha_agent.vdsm import file_domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.refused_verbs import STORAGE_TYPE_ERROR
from ha_agent.vdsm.server.storage_verbs import StorageVerbs, mounted_at
from ha_agent.vdsm_user import vdsm_owner

DOMAIN_NOT_EMPTY = 361
DOMAIN_EXISTS = 365
_TYPES = {1: "NFS", 4: "LOCALFS", 6: "POSIXFS", 7: "GLUSTERFS"}
_DATA = 1
_VERSIONS = (3, 4, 5)
_NAME = re.compile(r"[ -~]{1,128}")


class DomainVerbs:
    """Makes domains that `storage` then finds."""

    def __init__(self, storage: StorageVerbs) -> None:
        self._storage = storage

    async def create(
        self,
        domain: str,
        kind: int,
        type_arguments: str,
        name: str,
        domain_class: int,
        version: Optional[int],
        _block_size: Optional[int],
        _max_hosts: Optional[int],
    ) -> None:
        """StorageDomain.create."""
        if kind not in _TYPES:
            raise Refusal(
                STORAGE_TYPE_ERROR, f"Domain type {kind}: this VDSM uses file storage only"
            )
        version = 0 if version is None else version
        if not file_domain.is_uuid(domain) or not _NAME.fullmatch(name):
            raise Refusal(
                VdsmCode.INVALID_PARAMETER,
                f"Invalid parameter: storagedomainID={domain[:60]!r}, name={name[:60]!r}",
            )
        if domain_class != _DATA or version not in _VERSIONS:
            raise Refusal(
                VdsmCode.INVALID_PARAMETER,
                f"Invalid parameter: domainClass={domain_class}, version={version}",
            )

        def make() -> None:
            parent = mounted_at(kind, type_arguments)
            if parent is None or type_arguments not in self._storage.connected():
                raise Refusal(
                    VdsmCode.FILE_SYSTEM_NOT_MOUNTED,
                    f"Storage domain remote path not mounted: {(type_arguments,)!r}",
                )
            _refuse_others(parent, domain)
            file_domain.create_domain(
                parent,
                domain,
                name=name,
                kind=_TYPES[kind],
                version=version,
                remote_path=type_arguments,
                owner=vdsm_owner(),
            )

        await self._storage.run("StorageDomain.create", make)


def _refuse_others(parent: Path, domain: str) -> None:
    for metadata in sorted(parent.glob("*/dom_md/metadata")):
        if metadata.parent.parent.name == domain:
            raise Refusal(DOMAIN_EXISTS, f"Storage domain already exists: {(domain,)!r}")
        raise Refusal(
            DOMAIN_NOT_EMPTY,
            f"Storage domain is not empty - requires cleaning: {(str(parent),)!r}",
        )

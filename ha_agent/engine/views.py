# SPDX-License-Identifier: Apache-2.0
"""What is to be in the engine, and what it answers, as values; names are those of its API model.

Pure. A status that this version does not know arrives as "" from the SDK, and is waited for
like one that passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.vdsm.client.storage_server import StorageServer


@dataclass(frozen=True)
class Wanted:
    """What the import is to reach. `host`, `cluster`, `data_center`: name or id, "" for any.

    `server` is None where the configuration does not say how the storage is connected.
    `this_host` is this host's name: it is the one that surely reaches the storage.
    """

    domain_uuid: str
    vm_uuid: str
    server: Optional[StorageServer]
    this_host: str
    host: str = ""
    cluster: str = ""
    data_center: str = ""


@dataclass(frozen=True)
class DataCenter:
    """A data centre."""

    id: str
    name: str
    status: str


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the data centre that it is in, "" for none."""

    id: str
    name: str
    data_center_id: str


@dataclass(frozen=True)
class HostedEngine:
    """A host's high availability as the engine sees it."""

    configured: bool
    active: bool
    score: int
    global_maintenance: bool
    local_maintenance: bool


@dataclass(frozen=True)
class Host:
    """A host. `hosted_engine` is None where the engine tells nothing of it."""

    id: str
    name: str
    address: str
    status: str
    cluster_id: str
    hosted_engine: Optional[HostedEngine] = None

    def is_called(self, name: str) -> bool:
        """Tell whether `name` is its name, address or id."""
        return name in (self.id, self.name, self.address)


@dataclass(frozen=True)
class Domain:
    """A storage domain that the engine knows. `data_center_id` is "" while it is unattached.

    `status` is that in its data centre: active, maintenance, inactive, or one that passes.
    """

    id: str
    name: str
    data_center_id: str
    status: str


@dataclass(frozen=True)
class Vm:
    """A VM, registered or not."""

    id: str
    name: str
    status: str
    cluster_id: str
    delete_protected: bool


@dataclass(frozen=True)
class Disk:
    """A disk of a storage domain, as far as the OVF_STORE's are concerned."""

    id: str
    status: str
    content_type: str


@dataclass(frozen=True)
class Connection:
    """A storage connection that the engine keeps."""

    id: str
    type: str
    address: str
    path: str


@dataclass(frozen=True)
class Target:
    """Where the domain is to be attached and the VM registered, and through which host."""

    data_center: DataCenter
    cluster: Cluster
    host: Host

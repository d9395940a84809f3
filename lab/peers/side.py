# SPDX-License-Identifier: Apache-2.0
"""What is measured beside each other: three hosts that keep one VM running, whatever does it."""

from __future__ import annotations

from typing import Optional, Protocol

from lab.cluster import LabCluster
from lab.observer import Observer, make_observer

OURS, PACEMAKER, UNFENCED = "ha-agent", "Pacemaker", "Pacemaker without fencing"


class Side(Protocol):
    """One cluster. Each method raises LabError where it does not come about."""

    name: str
    cluster: LabCluster

    @property
    def observer(self) -> Observer:
        """Who looks on, once the side was started."""
        ...

    def start(self) -> None:
        """From nothing to hosts that are up and told to run the VM."""
        ...

    def settle(self) -> str:
        """Wait until all is well, by its own word and the observer's; return the VM's host."""
        ...

    def versions(self) -> dict[str, str]:
        """Return package -> version of what runs there."""
        ...

    def remove(self) -> None:
        """Leave nothing of it running or mounted; also after a start that failed."""
        ...


def observer_of(cluster: LabCluster) -> Observer:
    """Return an observer of a cluster whose VM and disk are known."""

    def leaders() -> dict[str, Optional[int]]:
        return {name: host.leader for name, host in cluster.hosts.items()}

    storage = cluster.storage
    address = cluster.network.engine_address
    return make_observer((cluster.vm_uuid,), storage.disk, storage.disk_texts, address, leaders)

# SPDX-License-Identifier: Apache-2.0
"""The storage domain as this host's VDSM has it: connected, monitored, and the verbs on that."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Callable

from ha_agent.broker.api import vdsm as api_vdsm
from ha_agent.broker.api.arguments import Access, deadlines_of
from ha_agent.broker.part import Part
from ha_agent.broker.snapshot import LeaseEntry, Snapshot
from ha_agent.broker.storage.domain_connect import Clock, DomainConnect
from ha_agent.broker.storage.domain_monitor import domain_monitor_part
from ha_agent.broker.storage.server_source import wanted_of
from ha_agent.config.schema import Config
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.vm_status import VmStats


def is_lease_out_of_reach(lease: LeaseEntry) -> bool:
    """Whether the lease's place may not be readable here. It may be so for other reasons; then
    VDSM is asked a little more often than it would have to be."""
    return not lease.ours and lease.state in ("unknown", "unreadable") and bool(lease.detail)


class DomainParts:
    """Keeps the domain connected and monitored."""

    def __init__(
        self,
        config: Config,
        vdsm: Vdsm,
        clock: Clock,
        in_maintenance: Callable[[], bool],
        is_unread: Callable[[], bool],
    ) -> None:
        """`in_maintenance`: this host is in local maintenance, or it is not known yet;
        `is_unread`: status blocks or lease can't be read. Reads small local files."""
        self._config = config
        self._vdsm = vdsm
        self._clock = clock
        self._in_maintenance = in_maintenance
        self.connect = DomainConnect(
            vdsm,
            wanted_of(config.storage, config.lease.backend, config.sanlock.path),
            clock=clock,
            in_maintenance=in_maintenance,
            is_unread=is_unread,
        )

    def features(
        self,
        picture: Callable[[], Snapshot],
        access: Access,
        vm_list: Callable[[], Awaitable[Sequence[VmStats]]],
    ) -> tuple[Part, ...]:
        """Return what the broker runs and answers. `vm_list` tells of all VMs of this host."""
        api = api_vdsm.VdsmApi(
            self._vdsm,
            self.connect,
            picture,
            access=access,
            in_maintenance=self._in_maintenance,
            vm_list=vm_list,
        )
        monitor = domain_monitor_part(
            self._vdsm,
            self._config.storage.domain_uuid,
            self._config.host.id,
            self._clock,
            self.connect.may_monitor,
        )
        deadlines_seconds = deadlines_of(api_vdsm.VERBS)
        connect = Part("vdsm", api.handlers(), deadlines_seconds, (self.connect.run,))
        return (monitor, connect)

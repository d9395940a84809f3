# SPDX-License-Identifier: Apache-2.0
"""The broker's parts for maintenance, put together from the configuration."""

from __future__ import annotations

import dataclasses
import logging
from typing import Optional

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.maintenance import STORAGE_CALLS, MaintenanceApi
from ha_agent.broker.blocks.monitor import StatusMonitor
from ha_agent.broker.host_vms import HostVms
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper
from ha_agent.broker.maintenance.order_file import KeptOrder, OrderFile
from ha_agent.broker.maintenance.orders import MaintenanceKeeper
from ha_agent.broker.other_vms import other_vms
from ha_agent.broker.part import Work
from ha_agent.broker.snapshot import OrderEntry
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput, EnvironmentFault

log = logging.getLogger(__name__)


class MaintenanceParts:
    """The keepers of local and global maintenance, and their verbs."""

    def __init__(
        self,
        config: Config,
        vms: HostVms,
        monitor: StatusMonitor,
        board: Board,
        *,
        clock: SystemClock,
        boot_id: str,
    ) -> None:
        host = config.host
        file = OrderFile(host.state_dir, boot_id)
        self._cluster = MaintenanceKeeper(
            monitor,
            board,
            host.id,
            host.name,
            clock=clock,
            host_alive_seconds=config.status.host_alive_seconds,
            file=file,
            kept=_kept(file, host.id, host.name, clock),
            count_other_vms=lambda: other_vms(vms.vm_list, config.engine.vm_uuid),
        )

        def note(text: str) -> None:
            monitor.own.extra.maintenance_note = text

        self.local = LocalMaintenanceKeeper(
            host.state_dir, clock=clock, boot_id=boot_id, on_note=note
        )
        seconds = STORAGE_CALLS * config.storage.io_deadline_seconds
        self.deadlines_seconds = {"maintenance.set": seconds, "cluster.order": seconds}

    def work(self) -> tuple[Work, ...]:
        """Return what is to run as long as the broker."""
        return (self._cluster.run, self.local.run)

    def api(self, access: Access) -> MaintenanceApi:
        """Return the socket's verbs."""
        return MaintenanceApi(self._cluster, self.local, access=access)

    def in_local_maintenance(self) -> bool:
        """Whether this host is in local maintenance, or it is not known yet."""
        return self.local.active is not False

    def as_of_now(self, order: OrderEntry) -> OrderEntry:
        """Return the order with the time that it has left now."""
        return dataclasses.replace(order, remaining_seconds=self._cluster.remaining_seconds())


def _kept(
    file: OrderFile, host_id: int, host_name: str, clock: SystemClock
) -> Optional[KeptOrder]:
    """What can't be read is lost: the order also stands in our block, with the calendar's end."""
    try:
        return file.load(host_id, host_name, now=clock.now(), wall=clock.wall())
    except (EnvironmentFault, BadInput) as fault:
        log.warning("the order that was given on this host: %s", fault)
        return None

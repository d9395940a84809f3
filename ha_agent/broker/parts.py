# SPDX-License-Identifier: Apache-2.0
"""The broker's parts, put together from the configuration, and what they tell each other.

service.py runs what stands here. A new feature comes as a `Part`, in `_features`; only what others
need to know of has an attribute of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine
from typing import Any

from ha_agent.broker import event_journal
from ha_agent.broker.agent_watch import AgentWatch
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.basic import MAX_WAIT_SECONDS, Api
from ha_agent.broker.api.definition import STORE_DEADLINES_SECONDS
from ha_agent.broker.api.events import EventsApi, Watch
from ha_agent.broker.api.lockspace import lockspace_part
from ha_agent.broker.api.shared_keys import shared_keys_part
from ha_agent.broker.api.vm import VmApi
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.blocks.store import BlockStore
from ha_agent.broker.definition.parts import DefinitionParts
from ha_agent.broker.engine_watch import EngineWatch
from ha_agent.broker.event_log import EventLog
from ha_agent.broker.host_vms import HostVms
from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.incidents.part import Incidents
from ha_agent.broker.lease.backend import Keeper, lease_backend, lease_seconds
from ha_agent.broker.maintenance.parts import MaintenanceParts
from ha_agent.broker.metrics.figures import Sources
from ha_agent.broker.metrics.parts import metrics_part
from ha_agent.broker.part import Part
from ha_agent.broker.probes.domain import OwnReads
from ha_agent.broker.probes.from_config import health_loop
from ha_agent.broker.probes.host_probes import HostProbes
from ha_agent.broker.push.parts import PushParts
from ha_agent.broker.rpc.tally import RpcTally
from ha_agent.broker.snapshot import LeaseEntry, Report, Snapshot
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.launch import Nursery
from ha_agent.broker.storage.leftovers import find_leftovers
from ha_agent.broker.storage.parts import DomainParts, is_lease_out_of_reach
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.errors import EnvironmentFault
from ha_agent.values import replaced
from ha_agent.vdsm.client.from_config import vdsm_client
from ha_agent.vdsm.client.verbs import Vdsm

log = logging.getLogger(__name__)

# An agent that has said nothing for so many of its intervals is dead to other hosts.
_REPORT_INTERVALS = 3.0
# After so many the lease is given up, if no VM runs here: time for a restart or two by systemd.
_SILENT_INTERVALS = 12.0


class Parts:
    """What one host's broker is made of."""

    def __init__(self, config: Config, clock: SystemClock, access: Access) -> None:
        """Raises EnvironmentFault when the local folders can't be made."""
        self._config = config
        self._clock = clock
        run_dir, state_dir = config.host.run_dir, config.host.state_dir
        for folder in (run_dir, state_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EnvironmentFault(f"{folder}: {error.strerror}") from error
        self._nursery = Nursery(str(run_dir))
        self._lanes = {name: self._lane(name) for name in ("lease", "status", "definition")}
        first = Snapshot(
            version=0,
            host_id=config.host.id,
            host_name=config.host.name,
            vm_uuid=config.engine.vm_uuid,
            made_at=clock.now(),
        )
        self.board = Board(first, clock.now, self._live)
        self._events = EventLog(state_dir, clock=clock)
        self._lease = self._lease_keeper()
        self._monitor = self._status_monitor()
        self._vdsm_client = vdsm_client(config.vdsm, clock, self._vdsm_connected)
        vdsm = Vdsm(self._vdsm_client)
        self._vms = HostVms(config, vdsm, clock)
        self._definition = DefinitionParts(
            config,
            vdsm,
            self._lanes["definition"],
            clock=clock,
            picture=self.board.read,
            on_change=lambda entry: self.board.update(definition=entry),
        )
        self._monitor.own.extra.proven = self._definition.starts.proven_here
        self._maintenance = MaintenanceParts(
            config, self._vms, self._monitor, self.board, clock=clock, boot_id=read_boot_id()
        )
        self._engine_watch = EngineWatch(
            lambda tell: health_loop(config.engine, clock, tell),
            lambda entry: self.board.update(health=entry),
        )
        self._agent_watch = AgentWatch(
            self.board.read,
            self._vms.engine_vm,
            self._lease,
            clock=clock,
            limit_seconds=_SILENT_INTERVALS * config.status.publish_interval_seconds,
            grace_seconds=config.engine.bad_health_grace_seconds,
            watch_engine=lambda: self._engine_watch.watch(True),
            hypervisor_name=self._vms.name,
        )
        self._domain = DomainParts(
            config,
            vdsm,
            clock,
            self._maintenance.in_local_maintenance,
            self._is_storage_unread,
        )
        self._probes = self._host_probes(vdsm)
        self.access = access
        self.rpc_tally = RpcTally()
        self._push = PushParts(
            config, self.board, self._monitor, self._definition.keeper, clock=clock
        )
        self.features = self._features(access)

    # Parts -------------------------------------------------------------------------------

    def _lane(self, name: str) -> StorageLane:
        return StorageLane(
            name,
            str(self._config.host.run_dir),
            clock=self._clock,
            max_abandoned=self._config.storage.max_abandoned_workers,
            on_replaced=lambda reason: log.warning("storage worker %s: %s", name, reason),
            launch=self._nursery.launch,
            leftovers=find_leftovers(name, str(self._config.host.run_dir)),
        )

    def _is_storage_unread(self) -> bool:
        lease = self.board.current.lease
        return bool(self._monitor.storage.problem) or is_lease_out_of_reach(lease)

    def _lease_keeper(self) -> Keeper:
        def host_name(host_id: int) -> str:
            hosts = self.board.current.hosts
            return next((host.host_name for host in hosts if host.host_id == host_id), "")

        part = lease_backend(
            self._config,
            self._lanes["lease"],
            clock=self._clock,
            host_name=host_name,
            on_change=self._lease_changed,
        )
        self._fence, self._initialise_lease = part.fence, part.initialise
        return part.keeper

    def _status_monitor(self) -> StatusMonitor:
        config, storage = self._config, self._config.storage
        store = BlockStore(
            self._lanes["status"],
            str(storage.status_path),
            clock=self._clock,
            max_hosts=storage.max_hosts,
            deadline_seconds=storage.io_deadline_seconds,
        )
        silent_seconds = _REPORT_INTERVALS * config.status.publish_interval_seconds
        times = MonitorTimes(
            read_interval_seconds=config.status.read_interval_seconds,
            host_alive_seconds=config.status.host_alive_seconds,
            report_max_age_seconds=silent_seconds,
            fresh_seconds=max(lease_seconds(config), silent_seconds),
        )
        return StatusMonitor(
            store,
            self.board,
            config.host.id,
            config.host.name,
            clock=self._clock,
            times=times,
            may_write=lambda: self._lease.host_id.held,
            capacity=lambda: self._definition.capacity.current,
        )

    def _host_probes(self, vdsm: Vdsm) -> HostProbes:
        return HostProbes(
            self._config,
            self._clock,
            update=self.board.update,
            own_reads=self._own_reads,
            vitals=vdsm.storage_vitals,
        )

    # Features ----------------------------------------------------------------------------

    def _features(self, access: Access) -> tuple[Part, ...]:
        core, definition = self._core(access), self._definition_feature(access)
        return (
            core,
            definition,
            self._push.part(
                history=self._definition.history,
                on_socket={**core.handlers, **definition.handlers},
                put=self._definition.api(access).put_pushed,
            ),
            self._maintenance_feature(access),
            shared_keys_part(
                self._definition.shared,
                self._maintenance.local,
                self._config.storage,
                clock=self._clock,
                access=access,
            ),
            self._probes.part(),
            self._events_feature(access),
            self._vm_feature(access),
            self._lockspace_feature(access),
            *self._domain.features(self.board.read, access, self._vms.vm_list),
            self._metrics_feature(),
            self._incidents_feature(access),
        )

    def _core(self, access: Access) -> Part:
        api = Api(
            self.board,
            self._lease,
            self._monitor,
            self._definition.keeper,
            self._definition.starts,
            access=access,
            on_report=self._reported,
            initialise_lease=self._initialise_lease,
            refresh=self._push.requests.everywhere,
        )
        work = [self._monitor.run, self._monitor.run_writer, self._agent_watch.run]
        lease_expiry_seconds = self._config.lease.lease_expiry_seconds
        return Part(
            "core",
            api.handlers(),
            {
                "snapshot": MAX_WAIT_SECONDS + 5.0,
                "status": MAX_WAIT_SECONDS + 5.0,
                "refresh": 3 * self._config.storage.ovf_deadline_seconds,
                "lease.take": lease_expiry_seconds,
                "lease.release": lease_expiry_seconds,
                "lease.abandon": lease_expiry_seconds,
            },
            tuple(work),
        )

    def _definition_feature(self, access: Access) -> Part:
        return Part(
            "definition",
            self._definition.api(access).handlers(),
            STORE_DEADLINES_SECONDS,
            self._definition.work(),
        )

    def _maintenance_feature(self, access: Access) -> Part:
        return Part(
            "maintenance",
            self._maintenance.api(access).handlers(),
            self._maintenance.deadlines_seconds,
            self._maintenance.work(),
        )

    def _vm_feature(self, access: Access) -> Part:
        api = VmApi(
            self.board,
            access=access,
            clock=self._clock,
            report_max_age_seconds=_REPORT_INTERVALS
            * self._config.status.publish_interval_seconds,
            stop_timeout_seconds=self._config.engine.stop_timeout_seconds,
        )
        return Part("vm", api.handlers(), api.deadlines_seconds)

    def _lockspace_feature(self, access: Access) -> Part:
        return lockspace_part(
            self._config,
            self._lanes["status"],
            clock=self._clock,
            picture=self.board.read,
            access=access,
        )

    def _events_feature(self, access: Access) -> Part:
        watch = Watch(self.board, self._events, self._fence.result)
        return Part(
            "events",
            EventsApi(self.board, self._events, self._clock, access).handlers(),
            {"events": MAX_WAIT_SECONDS + 5.0},
            (watch.run,),
            self._events.wake,
        )

    def _incidents_feature(self, access: Access) -> Part:
        def set_line(text: str) -> None:
            self._monitor.own.extra.incidents = text

        return Incidents(
            self._config,
            self.board,
            self._events,
            clock=self._clock,
            boot_id=read_boot_id(),
            set_line=set_line,
            environ=os.environ,
        ).part(access)

    def _metrics_feature(self) -> Part:
        sources = Sources(
            self.board.read,
            lambda: [lane.figures() for lane in self._lanes.values()],
            self._lease.renewals,
            self.rpc_tally,
            lambda: self._events.counts,
        )
        return metrics_part(self._config.metrics, sources, clock=self._clock)

    # What the parts tell -----------------------------------------------------------------

    def _live(self) -> dict[str, Any]:
        lanes = [lane.figures() for lane in self._lanes.values()]
        storage, hold = self._monitor.storage, self._lease.host_id
        # Without our host id we write nothing, and who looks should see why.
        storage = replaced(
            storage,
            problem=storage.problem or ("" if hold.held else hold.reason),
            connection_problem=self._domain.connect.problem,
            workers_replaced=sum(lane.replaced for lane in lanes),
            workers_stuck=sum(lane.stuck for lane in lanes),
        )
        live: dict[str, Any] = {"lease": self._lease.view(), "storage": storage}
        order = self.board.current.order
        if order is not None:
            live["order"] = self._maintenance.as_of_now(order)
        live.update(self._probes.live())
        health = self._engine_watch.entry()
        if health is not None:
            live["health"] = health
        return live

    def _lease_changed(self, view: LeaseEntry) -> None:
        event_journal.tell_lease(view)
        self.board.update(lease=view)

    def _vdsm_connected(self) -> None:
        self._definition.connected()
        self._domain.connect.connected()
        self._push.vdsm_showed(self._vdsm_client.server_certificate)

    def _own_reads(self) -> OwnReads:
        storage, latency = self._monitor.storage, self._lanes["status"].stats()["latency_seconds"]
        last_seconds = None if latency is None else latency["last"]
        return OwnReads(storage.read_at, storage.problem, last_seconds)

    def _reported(self, report: Report) -> None:
        self._events.add_reported(report.events)
        self._definition.reported(report)
        self._engine_watch.watch(report.watch_engine)

    # Life --------------------------------------------------------------------------------

    async def start(self) -> list[Coroutine[Any, Any, None]]:
        """Begin, and return what is to be run until `close`."""
        await self._nursery.start()
        for lane in self._lanes.values():
            await lane.start()
        self._events.start()
        self._vdsm_client.start()
        self._lease.start()
        return [make() for feature in self.features for make in feature.work]

    def wake(self) -> None:
        """Let every verb that waits for something answer now: the broker stops."""
        self.board.wake()
        for feature in self.features:
            feature.wake()

    async def close(self) -> None:
        """End, after the work has been cancelled. The engine VM is left as it is."""
        await self._engine_watch.close()
        await self._lease.stop()
        self._events.stop()
        await self._vdsm_client.close()
        for feature in self.features:
            await feature.close()
        for lane in self._lanes.values():
            await lane.close()
        self._nursery.close()

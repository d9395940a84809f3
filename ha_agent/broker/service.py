# SPDX-License-Identifier: Apache-2.0
"""The broker's process: build from configuration, serve, stop.

It decides nothing about where the VM runs. Everything that touches shared storage happens in
worker processes, one lane for each kind of work, so that the lease's renewal never queues
behind a status block, nor either behind an OVF.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import grp
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Optional

from ha_agent import config as configuration
from ha_agent import log as logs
from ha_agent.broker import unix_listener
from ha_agent.broker.agent_watch import AgentWatch
from ha_agent.broker.api import MAX_WAIT_SECONDS, Api
from ha_agent.broker.api_arguments import Access
from ha_agent.broker.api_definition import STORE_DEADLINES_SECONDS
from ha_agent.broker.api_events import EventsApi, Watch
from ha_agent.broker.block_store import BlockStore
from ha_agent.broker.definition_parts import DefinitionParts
from ha_agent.broker.event_log import EventLog
from ha_agent.broker.fence_deadline import GuardFence
from ha_agent.broker.identity import load_instance, read_boot_id
from ha_agent.broker.lease import LeaseIdentity, LeaseTimes
from ha_agent.broker.lease_cycle import LeaseKeeper
from ha_agent.broker.lease_storage import FileLeaseStorage
from ha_agent.broker.maintenance_parts import MaintenanceParts
from ha_agent.broker.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.probes import engine_health
from ha_agent.broker.probes.from_config import (
    HealthSample,
    NetworkSample,
    health_entry,
    health_loop,
    network_entry,
    network_loop,
)
from ha_agent.broker.probes.loop import ProbeLoop
from ha_agent.broker.rpc_server import RpcServer, ServerLimits
from ha_agent.broker.snapshot import HealthEntry, LeaseEntry, Report, Snapshot
from ha_agent.broker.storage_lane import StorageLane
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.config_schema import Config
from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.readiness import Readiness, listen_sockets
from ha_agent.vdsm.from_config import vdsm_client
from ha_agent.vdsm.verbs import Vdsm

log = logging.getLogger(__name__)

_WATCHDOG_SECONDS = 1.0
# An agent that has said nothing for so many of its intervals is dead to other hosts.
_REPORT_INTERVALS = 3.0
# After so many the lease is given up, if no VM runs here: time for a restart or two by systemd.
_SILENT_INTERVALS = 12.0


class Broker:
    """One host's broker, built from its configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clock = SystemClock()
        self._readiness = Readiness()
        self._stop = asyncio.Event()
        run_dir, state_dir = config.host.run_dir, config.host.state_dir
        for folder in (run_dir, state_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EnvironmentFault(f"{folder}: {error.strerror}") from error
        self._lanes = {name: self._lane(name) for name in ("lease", "status", "definition")}
        first = Snapshot(
            version=0,
            host_id=config.host.id,
            host_name=config.host.name,
            vm_uuid=config.engine.vm_uuid,
            made_at=self._clock.now(),
        )
        self._board = Board(first, self._clock.now, self._live)
        self._events = EventLog(state_dir, clock=self._clock)
        self._lease = self._lease_keeper()
        self._monitor = self._status_monitor()
        self._vdsm_client = vdsm_client(config.vdsm, self._clock, self._vdsm_connected)
        vdsm = Vdsm(self._vdsm_client)
        self._definition = DefinitionParts(
            config,
            vdsm,
            self._lanes["definition"],
            clock=self._clock,
            picture=self._board.read,
            on_change=lambda entry: self._board.update(definition=entry),
        )
        self._monitor.own.extra.proven = self._definition.starts.proven_here
        self._maintenance = MaintenanceParts(
            config, vdsm, self._monitor, self._board, clock=self._clock, boot_id=read_boot_id()
        )
        self._agent_watch = AgentWatch(
            self._board.read,
            lambda: vdsm.vm_stats(config.engine.vm_uuid),
            self._lease,
            clock=self._clock,
            limit_seconds=_SILENT_INTERVALS * config.status.publish_interval_seconds,
            grace_seconds=config.engine.bad_health_grace_seconds,
            watch_engine=lambda: self._watch_engine(True),
        )
        self._health_probe = self._make_health_probe()
        self._network_probe = network_loop(config.network, self._clock, self._network_changed)
        self._watching: Optional[asyncio.Task[None]] = None

    # Parts -------------------------------------------------------------------------------

    def _lane(self, name: str) -> StorageLane:
        return StorageLane(
            name,
            str(self._config.host.run_dir),
            clock=self._clock,
            max_abandoned=self._config.storage.max_abandoned_workers,
            on_replaced=lambda reason: log.warning("storage worker %s: %s", name, reason),
        )

    def _lease_keeper(self) -> LeaseKeeper:
        config, host = self._config.lease, self._config.host
        boot_id = read_boot_id()
        vm_uuid = self._config.engine.vm_uuid
        instance = load_instance(host.run_dir, boot_id)
        identity = LeaseIdentity(host.id, host.name, instance, vm_uuid)
        times = LeaseTimes(
            renew_interval_seconds=config.renew_interval_seconds,
            lease_expiry_seconds=config.lease_expiry_seconds,
            fence_margin_seconds=config.fence_margin_seconds,
            takeover_step_seconds=config.takeover_step_seconds,
            renew_deadline_seconds=config.renew_deadline_seconds,
        )
        self._lease_storage = FileLeaseStorage(self._lanes["lease"], str(config.path), identity)
        self._fence = GuardFence(host.run_dir, vm_uuid, boot_id, str(config.qemu_marker or ""))
        return LeaseKeeper(
            self._lease_storage,
            times,
            identity,
            clock=self._clock,
            fence=self._fence,
            on_change=self._lease_changed,
        )

    def _status_monitor(self) -> StatusMonitor:
        config, storage = self._config, self._config.storage
        volume = storage.domain_path / "images" / storage.status_image / storage.status_volume
        store = BlockStore(
            self._lanes["status"],
            str(volume),
            clock=self._clock,
            max_hosts=storage.max_hosts,
            deadline_seconds=storage.io_deadline_seconds,
        )
        times = MonitorTimes(
            read_interval_seconds=config.status.read_interval_seconds,
            host_alive_seconds=config.status.host_alive_seconds,
            report_max_age_seconds=_REPORT_INTERVALS * config.status.publish_interval_seconds,
        )
        return StatusMonitor(
            store,
            self._board,
            config.host.id,
            config.host.name,
            clock=self._clock,
            times=times,
            may_write=lambda: self._lease.host_id.held,
            capacity=lambda: self._definition.capacity.current,
        )

    def _make_health_probe(self) -> ProbeLoop[engine_health.HealthResult]:
        return health_loop(self._config.engine, self._clock, self._health_changed)

    # What the parts tell -----------------------------------------------------------------

    def _live(self) -> dict[str, Any]:
        stats = [lane.stats() for lane in self._lanes.values()]
        storage, hold = self._monitor.storage, self._lease.host_id
        # Without our host id we write nothing, and who looks should see why.
        storage = dataclasses.replace(
            storage,
            problem=storage.problem or ("" if hold.held else hold.reason),
            workers_replaced=sum(lane["replaced"] for lane in stats),
            workers_stuck=sum(lane["abandoned_alive"] for lane in stats),
        )
        live: dict[str, Any] = {"lease": self._lease.view(), "storage": storage}
        order = self._board.current.order
        if order is not None:
            live["order"] = self._maintenance.as_of_now(order)
        # Of the last samples, so it changes after the last change of a sample, too.
        tested = self._network_probe.latest
        if tested is not None:
            live["network"] = network_entry(tested, self._network_probe.samples)
        sample = self._health_probe.latest
        if sample is not None and self._watching is not None:
            live["health"] = health_entry(sample)
        return live

    def _lease_changed(self, view: LeaseEntry) -> None:
        who = f" by {view.host_name} (id {view.host_id})" if view.state == "held" else ""
        troubled = view.ours or view.state in ("unknown", "unreadable")
        level = logging.WARNING if troubled and view.detail else logging.INFO
        detail = f": {view.detail}" if view.detail else ""
        log.log(level, "lease %s%s, epoch %d%s", view.state, who, view.epoch, detail)
        self._board.update(lease=view)

    def _vdsm_connected(self) -> None:
        self._definition.connected()

    def _health_changed(self, sample: HealthSample) -> None:
        entry = health_entry(sample)
        log.info("engine health: %s (%s)", entry.health, entry.detail)
        self._board.update(health=entry)

    def _network_changed(self, sample: NetworkSample) -> None:
        self._board.update(network=network_entry(sample, self._network_probe.samples))

    def _reported(self, report: Report) -> None:
        self._events.add_reported(report.events)
        self._definition.reported(report)
        self._watch_engine(report.watch_engine)

    def _watch_engine(self, wanted: bool) -> None:
        """Watch the engine's page only where the VM is: elsewhere it tells nothing."""
        if wanted and self._watching is None:
            self._watching = asyncio.ensure_future(self._health_probe.run())
        elif not wanted and self._watching is not None:
            self._watching.cancel()
            self._watching = None
            self._health_probe = self._make_health_probe()
            self._board.update(health=HealthEntry())

    # Life --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. The engine VM is left as it is."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        broker, host = self._config.broker, self._config.host
        gid = _gid_of(broker.socket_group)
        inherited = listen_sockets()
        listener = (
            inherited[0]
            if inherited
            else unix_listener.listen_unix(str(broker.socket), mode=broker.socket_mode, gid=gid)
        )
        access = Access(os.getuid(), gid)
        api = Api(
            self._board,
            self._lease,
            self._monitor,
            self._definition.keeper,
            self._definition.starts,
            access=access,
            on_report=self._reported,
            initialise_lease=lambda: self._lease_storage.initialise(
                self._config.storage.io_deadline_seconds
            ),
        )
        server = RpcServer(
            {
                **api.handlers(),
                **self._definition.api(access).handlers(),
                **self._maintenance.api(access).handlers(),
                **EventsApi(self._board, self._events, self._clock).handlers(),
            },
            deadlines_seconds={
                "snapshot": MAX_WAIT_SECONDS + 5.0,
                "events": MAX_WAIT_SECONDS + 5.0,
                "status": MAX_WAIT_SECONDS + 5.0,
                "refresh": 3 * self._config.storage.ovf_deadline_seconds,
                **STORE_DEADLINES_SECONDS,
                **self._maintenance.deadlines_seconds,
                "lease.take": self._config.lease.lease_expiry_seconds,
                "lease.release": self._config.lease.lease_expiry_seconds,
                "lease.abandon": self._config.lease.lease_expiry_seconds,
            },
            limits=ServerLimits(call_deadline_seconds=broker.call_deadline_seconds),
        )
        server.start(listener)
        log.info("broker of host %d (%s) serves at %s", host.id, host.name, broker.socket)
        tasks = [loop.create_task(work) for work in await self._begin()]
        try:
            await self._wait(tasks)
        finally:
            self._readiness.stopping()
            self._board.wake()
            self._events.wake()
            await server.stop()
            await self._end(tasks)
            if not inherited:
                unix_listener.remove_socket_file(str(broker.socket))

    async def _begin(self) -> list[Coroutine[Any, Any, None]]:
        for lane in self._lanes.values():
            await lane.start()
        self._events.start()
        self._vdsm_client.start()
        self._lease.start()
        work = [
            self._monitor.run(),
            self._monitor.run_writer(),
            *self._definition.work(),
            self._agent_watch.run(),
            Watch(self._board, self._events, self._fence.result).run(),
            *self._maintenance.work(),
        ]
        if self._config.network.test != "none":
            work.append(self._network_probe.run())
        return work

    async def _wait(self, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to stop. READY after the first look at storage, good or bad: STATUS says."""
        ready = False
        stop = asyncio.ensure_future(self._stop.wait())
        while not stop.done():
            snapshot = self._board.read()
            storage = snapshot.storage
            looked = storage.read_at is not None or storage.problem
            self._readiness.status(
                f"lease {snapshot.lease.state}, definition "
                f"{snapshot.definition.identity or 'missing'}, storage {storage.problem or 'fine'}"
            )
            self._readiness.watchdog()
            if looked and not ready:
                self._readiness.ready()
                ready = True
            for task in tasks:
                if task.done():
                    task.result()  # a bug: end, and let systemd start us anew
            await asyncio.wait(
                {stop, *tasks}, timeout=_WATCHDOG_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        if self._watching is not None:
            tasks = [*tasks, self._watching]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._lease.stop()
        self._events.stop()
        await self._vdsm_client.close()
        for lane in self._lanes.values():
            await lane.close()


def _gid_of(group: str) -> Optional[int]:
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        raise EnvironmentFault(
            f"there is no group {group!r} ([broker] socket_group) on this host"
        ) from None


def main(argv: Optional[list[str]] = None) -> int:
    """Entry point of `ha-broker`."""
    parser = argparse.ArgumentParser(prog="ha-broker", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="configuration file")
    arguments = parser.parse_args(argv)
    try:
        config = configuration.load([arguments.config] if arguments.config else [], os.environ)
    except configuration.ConfigError as error:
        print(f"ha-broker: {error}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        logs.setup(config.log.level, "ha-broker", clock=SystemClock())

        async def serve() -> None:
            await Broker(config).run()

        asyncio.run(serve())
    except HaAgentError as error:
        print(f"ha-broker: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

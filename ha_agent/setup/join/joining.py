# SPDX-License-Identifier: Apache-2.0
"""`ha-agent join` and `leave` at work: puts this host, its storage and the steps together.

Apart from cli/join.py, which every command of `ha-agent` imports: this needs asyncio and VDSM's
client, which cost a start 50 ms.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Optional

from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.launch import launch_for_daemons
from ha_agent.broker.storage.server_source import wanted_of
from ha_agent.clock import SystemClock
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.config.schema import Config, VdsmConfig
from ha_agent.setup.host_files import machine_id
from ha_agent.setup.join import host_id as rules
from ha_agent.setup.join.answers import JoinAnswers, server_of_copy
from ha_agent.setup.join.cluster_conf import Cluster, ClusterConf, place_of
from ha_agent.setup.join.cluster_source import ClusterSource, FolderSource, VdsmSource
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.join.join import JoinPlan, join_steps
from ha_agent.setup.join.leave import LeavePlan, leave_steps
from ha_agent.setup.journal import open_journal
from ha_agent.setup.own_host import OwnFiles, SocketBroker, VdsmStorage, connected_vdsm
from ha_agent.setup.runner import run_steps
from ha_agent.setup.services import Services
from ha_agent.setup.step import Say
from ha_agent.setup.upgrade.predecessor_host import HOSTED_ENGINE_CONF


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the command line asks for. Not `units`: systemd's units are left as they are."""

    files: OwnFiles
    say: Say
    services: Services
    dry_run: bool = False
    units: bool = True
    clock: SystemClock = dataclasses.field(default_factory=SystemClock)


@dataclasses.dataclass(frozen=True)
class AskedJoin:
    """What a join is told: where the storage is (one of the first three), and which host id."""

    path: Optional[Path] = None
    copy: Optional[HostedEngineConf] = None
    answers: Optional[JoinAnswers] = None
    domain_uuid: str = ""
    host_id: Optional[int] = None


async def join(asked: Asked, told: AskedJoin) -> bool:
    """Join; return whether something was to be done.

    Raises SetupRefused, SetupFailed, and other HaAgentErrors.
    """
    clock, own = asked.clock, asked.files.settings_alone()
    async with contextlib.AsyncExitStack() as stack:
        lane = await stack.enter_async_context(_lane(own.host.run_dir, clock))
        source = await _source(stack, lane, own.vdsm, told, clock)
        journal = stack.enter_context(
            open_journal(
                own.host.state_dir, "join", source.subject, write=not asked.dry_run, anew=True
            )
        )
        joiner = _joiner(asked.files, own)

        def register_of(found: ClusterConf) -> HostRegister:
            place = place_of(found.settings, found.status_path)
            return HostRegister(lane, place, joiner, clock=clock)

        plan = JoinPlan(
            root=asked.files.root,
            source=source,
            cluster=Cluster(asked.files.root, source, asked.files.settings_with, told.copy),
            journal=journal,
            register_of=register_of,
            services=asked.services,
            wanted=told.host_id,
            start=asked.units,
        )
        changed = await run_steps(
            join_steps(plan), journal=journal, say=asked.say, dry_run=asked.dry_run, clock=clock
        )
        return bool(changed)


async def _source(
    stack: contextlib.AsyncExitStack,
    lane: StorageLane,
    settings: VdsmConfig,
    told: AskedJoin,
    clock: SystemClock,
) -> ClusterSource:
    domain_uuid = told.domain_uuid or (told.copy.uuid("sdUUID") if told.copy else "")
    if told.path is not None:
        return FolderSource(lane, told.path.absolute(), domain_uuid=domain_uuid)
    server = server_of_copy(told.copy) if told.copy else None
    if told.answers is not None:
        server = told.answers.server()
        domain_uuid = domain_uuid or told.answers.get("domain_uuid") or ""
        # What is answered counts more than this host's own files.
        answered = {name: told.answers.get(f"vdsm_{name}") for name in ("host", "port", "ssl")}
        given = {name: value for name, value in answered.items() if value is not None}
        settings = dataclasses.replace(settings, **given)
    vdsm = await stack.enter_async_context(connected_vdsm(settings, clock))
    return VdsmSource(vdsm, lane, server, domain_uuid=domain_uuid)


def _joiner(files: OwnFiles, settings: Config) -> rules.Joiner:
    mark = rules.machine_mark(machine_id(files.root) or settings.host.name)
    return rules.Joiner(settings.host.name, mark)


@contextlib.asynccontextmanager
async def _lane(run_dir: Path, clock: SystemClock) -> AsyncIterator[StorageLane]:
    lane = StorageLane("setup", str(run_dir), clock=clock, launch=launch_for_daemons())
    try:
        yield lane
    finally:
        await lane.close()


async def leave(asked: Asked, settings: Config, *, last: bool) -> None:
    """Leave. Raises SetupRefused, SetupFailed, and other HaAgentErrors."""
    clock, files, dry_run = asked.clock, asked.files, asked.dry_run
    host_id = settings.host.id
    subject = f"host {host_id} of engine VM {settings.engine.vm_uuid}"
    async with contextlib.AsyncExitStack() as stack:
        lane = await stack.enter_async_context(_lane(settings.host.run_dir, clock))
        journal = stack.enter_context(
            open_journal(settings.host.state_dir, "leave", subject, write=not dry_run, anew=True)
        )
        place = place_of(settings, str(settings.storage.status_path))
        wanted = wanted_of(settings.storage, settings.lease.backend, settings.sanlock.path)
        plan = LeavePlan(
            conf_path=files.root / HOSTED_ENGINE_CONF,
            state_dir=settings.host.state_dir,
            host_id=host_id,
            broker=SocketBroker(str(settings.broker.socket), clock),
            storage=VdsmStorage(settings.vdsm, wanted, clock),
            register=HostRegister(lane, place, _joiner(files, settings), clock=clock),
            journal=journal,
            clock=clock,
            services=asked.services if asked.units else None,
            last=last,
        )
        await run_steps(
            leave_steps(plan), journal=journal, say=asked.say, dry_run=dry_run, clock=clock
        )

# SPDX-License-Identifier: Apache-2.0
"""`ha-agent deploy`: from a bare host to a cluster of one host with its engine VM.

The steps, in order; each looks first and can be done again (step.py):

    host        this host can run the engine VM; the definition is sound     deploy/host.py
    storage     VDSM connects it                                             deploy/domain.py
    domain      found, or made by VDSM
    lock        no other deploy is at work on this domain
    space       there is room for what is to come
    volumes     status, predecessor's lockspace, configuration               deploy/volumes.py
    disk        the engine VM's, from an image file, or there already        deploy/disk.py
    store       two OVF_STORE volumes                                        deploy/store.py
    definition  the engine VM's OVF in both
    pool        the pool that VDSM wanted for this, if any, is left          pool.py
    lease       lock file, or sanlock's lockspace and resource               deploy/cluster.py
    register    this host's slot in the status volume
    shared      the archive in the configuration volume                      deploy/files.py
    conf        hosted-engine.conf on this host: from here on it is a host of the cluster
    units       the daemons are enabled and run                              start_units.py
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.launch import launch_for_daemons
from ha_agent.clock import SystemClock
from ha_agent.config.schema import VdsmConfig
from ha_agent.config.storage import StorageConfig, server_of
from ha_agent.setup.answers import Answers
from ha_agent.setup.deploy.cluster import MakeLease, RegisterHost
from ha_agent.setup.deploy.config import HOSTED_ENGINE_CONF, load_config
from ha_agent.setup.deploy.definition import DiskPlace, Source, document, load_source
from ha_agent.setup.deploy.deployment import (
    CONFIGURATION,
    DISK,
    GIB,
    LOCKSPACE,
    STATUS,
    Choices,
    Deployment,
    Subject,
)
from ha_agent.setup.deploy.disk import MakeDisk, NewDisk, new_disk
from ha_agent.setup.deploy.domain import CheckSpace, ConnectStorage, KeepOthersAway, UseDomain
from ha_agent.setup.deploy.files import WriteConf, WriteShared
from ha_agent.setup.deploy.host import CheckHost
from ha_agent.setup.deploy.pool import LeavePool, Pool
from ha_agent.setup.deploy.store import MakeStore, StoreDefinition
from ha_agent.setup.deploy.volumes import MakeVolume
from ha_agent.setup.host_files import machine_id
from ha_agent.setup.join.host_id import Joiner, machine_mark
from ha_agent.setup.journal import FOLDER_NAME, open_journal
from ha_agent.setup.own_host import OwnFiles
from ha_agent.setup.runner import run_steps
from ha_agent.setup.services import Services
from ha_agent.setup.start_units import StartUnits
from ha_agent.setup.step import Say, SetupFailed, Step
from ha_agent.vdsm.client.client import ClientState
from ha_agent.vdsm.client.from_config import vdsm_client
from ha_agent.vdsm.client.storage_server import StorageServer
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.deadline import StorageThreads

VERB = "deploy"
_STATE_DIR = Path("/var/lib/ha-agent")
# VDSM recovers for 10 s after a start; one that is not there at all is given up earlier.
_RECOVER_SECONDS, _CONNECT_SECONDS = 40.0, 5.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Request:
    """What is asked for. `files` is where this host's configuration is."""

    answers: Answers
    files: OwnFiles
    services: Services
    say: Say
    dry_run: bool = False
    start: bool = True


async def deploy(request: Request) -> tuple[str, ...]:
    """Set up, or with `dry_run` show the plan; return the names of the steps with work to do.

    Raises SetupRefused, SetupFailed, BadInput, EnvironmentFault.
    """
    answers, clock = request.answers, SystemClock()
    server = storage_server_of(answers)
    own = request.files.settings_alone().host
    state_dir = own.state_dir
    if state_dir == _STATE_DIR:
        # The answers are for all hosts: what this one says of itself counts more.
        state_dir = Path(answers.settings.get(("host", "state_dir"), _STATE_DIR))
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(
            open_journal(state_dir, VERB, _subject_text(answers), write=not request.dry_run)
        )
        choices = Choices(journal, write=not request.dry_run)
        source = load_source(answers, choices.get)
        subject = Subject(
            answers,
            choices,
            server,
            source.vm.uuid,
            request.files.root / HOSTED_ENGINE_CONF,
            own.name,
            request.files,
        )
        # With a path that is made up: all settings are checked before anything is done.
        settings = load_config(subject, Path("/") / subject.domain_uuid)
        disk = await new_disk(answers)
        async with _ports(settings.vdsm, str(settings.host.run_dir), clock) as (vdsm, lane):
            threads = StorageThreads()
            pool = Pool(
                vdsm,
                choices,
                threads,
                clock,
                domain_uuid=subject.domain_uuid,
                host_id=subject.host_id,
                folder=state_dir / FOLDER_NAME,
            )
            deployment = Deployment(
                **vars(subject),
                vdsm=vdsm,
                lane=lane,
                threads=threads,
                clock=clock,
                pool_id=pool.id,
            )
            lock = KeepOthersAway(deployment)
            stack.callback(lock.close)
            for note in source.notes:
                request.say(f"note: {note}")
            joiner = Joiner(subject.host_name, machine_mark(machine_id(request.files.root)))
            steps = _steps(request, deployment, pool, lock, source, disk, joiner)
            return await run_steps(
                steps, journal=journal, say=request.say, dry_run=request.dry_run, clock=clock
            )


def storage_server_of(answers: Answers) -> StorageServer:
    """Return what VDSM is to connect. Raises BadInput."""
    kind = answers.text("storage_type")
    section = StorageConfig(
        "",
        Path("/"),
        "",
        "",
        kind,
        connection=answers.text("storage_connection"),
        nfs_version=answers.text("nfs_version") or "4",
        mount_options=answers.text("mount_options"),
        vfs_type=answers.text("vfs_type"),
        iscsi_target=answers.text("iscsi_target"),
        iscsi_tpgt=answers.values.get("iscsi_tpgt"),
        iscsi_user=answers.text("iscsi_user"),
    )
    server = server_of(section, answers.text("iscsi_password"))
    assert server is not None  # the table wants a connection of all but fc
    return server


def _steps(
    request: Request,
    deployment: Deployment,
    pool: Pool,
    lock: KeepOthersAway,
    source: Source,
    disk: Optional[NewDisk],
    joiner: Joiner,
) -> list[Step]:
    async def ovf() -> bytes:
        info = await deployment.info(DISK)
        size = info.capacity_bytes if info is not None else None
        size_gib = -(-size // GIB) if size else disk.size_gib if disk else 1
        place = DiskPlace(
            deployment.domain_uuid, deployment.image(DISK), deployment.volume(DISK), size_gib
        )
        return document(source, place)

    return [
        CheckHost(deployment, request.services, ovf),
        ConnectStorage(deployment),
        UseDomain(deployment),
        lock,
        CheckSpace(deployment, disk.size_bytes if disk else 0),
        *(MakeVolume(deployment, pool, role) for role in (STATUS, LOCKSPACE, CONFIGURATION)),
        MakeDisk(deployment, pool, disk),
        MakeStore(deployment, pool),
        StoreDefinition(deployment, pool, ovf),
        LeavePool(pool),
        MakeLease(deployment),
        RegisterHost(deployment, joiner),
        WriteShared(deployment, ovf),
        WriteConf(deployment),
        StartUnits(request.services, start=request.start),
    ]


def _subject_text(answers: Answers) -> str:
    parts = ("storage_type", "storage_connection", "iscsi_target", "domain_uuid")
    return " ".join(filter(None, (answers.text(part) for part in parts)))


@contextlib.asynccontextmanager
async def _ports(
    config: VdsmConfig, run_dir: str, clock: SystemClock
) -> AsyncIterator[tuple[SetupVdsm, StorageLane]]:
    """Give VDSM and a storage worker. Raises SetupFailed when VDSM is not reached."""
    client = vdsm_client(config, clock, lambda: None)
    lane = StorageLane("setup", run_dir, clock=clock, launch=launch_for_daemons())
    client.start()
    try:
        began_at = clock.now()
        while client.state is not ClientState.READY:
            recovers = client.state is ClientState.RECOVERING
            limit_seconds = _RECOVER_SECONDS if recovers else _CONNECT_SECONDS
            if clock.now() - began_at >= limit_seconds:
                raise SetupFailed(f"VDSM at {client.peer} can't be reached: {client.reason}")
            await clock.sleep(_POLL_SECONDS)
        yield SetupVdsm(client), lane
    finally:
        await lane.close()
        await client.close()

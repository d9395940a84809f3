# SPDX-License-Identifier: Apache-2.0
"""`ha-agent upgrade` and `downgrade` at work: puts this host, its VDSM and the steps together.

Apart from cli/upgrade.py, which every command of `ha-agent` imports: this needs asyncio and VDSM's
client. Local files are read here; the storage is touched by a storage worker only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.launch import launch_for_daemons
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.config.storage import BLOCK_DOMAIN_TYPES
from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.setup.journal import FOLDER_NAME, open_journal
from ha_agent.setup.own_host import OwnFiles, SocketBroker, connected_vdsm
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS, Services
from ha_agent.setup.step import Say, SetupRefused
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.downgrade import Downgrade, run_downgrade
from ha_agent.setup.upgrade.ground import Ground, HostFacts, read_facts
from ha_agent.setup.upgrade.lease import SANLOCK_PATH_KEY, mount_options_of
from ha_agent.setup.upgrade.predecessor_host import (
    BACKEND_KEY,
    HOSTED_ENGINE_CONF,
    Detection,
    HostKind,
    detect,
    read_files,
)
from ha_agent.setup.upgrade.steps import local_conf, of_35
from ha_agent.setup.upgrade.upgrade import run_upgrade

_MOUNTS = Path("/proc/self/mounts")
_FIRST_STATE = "StartState"


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. `force` and `keep` are files, `accepted` guard's codes."""

    files: OwnFiles
    say: Say
    services: Services
    dry_run: bool = False
    accepted: tuple[str, ...] = ()
    force: Sequence[str] = ()
    keep: Sequence[str] = ()


class BrokerWatch:
    """Asks our broker what its agent is at."""

    def __init__(self, broker: SocketBroker) -> None:
        self._broker = broker

    async def look(self) -> tuple[bool, str]:
        """Return whether the agent has left its first state, and a sentence."""
        try:
            snapshot = await self._broker.picture()
        except HaAgentError as error:
            return False, str(error)
        report = snapshot.agent
        if report.made_at is None or report.stopped:
            return False, "the broker answers, the agent does not report yet"
        text = f"the agent is in state {report.state}: {report.reason or report.state_meaning}"
        return report.state != _FIRST_STATE, text


async def detected(files: OwnFiles, services: Services, state_dir: Path) -> Detection:
    """Return what kind of host this is. Raises EnvironmentFault, BadInput."""
    backup = newest_backup(state_dir / FOLDER_NAME)
    units = await services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
    return detect(
        read_files(files.root),
        units,
        root=files.root,
        upgrade_begun="" if backup is None else str(backup.folder),
    )


async def upgrade(asked: Asked) -> HostKind:
    """Upgrade this host; return the kind that it was. Raises SetupRefused, SetupFailed, and other
    HaAgentErrors."""
    clock, files, own = SystemClock(), asked.files, asked.files.settings_alone()
    found = await detected(files, asked.services, own.host.state_dir)
    asked.say(f"this is {found.kind.value}:")
    for sentence in found.evidence:
        asked.say(f"    {sentence}")
    if found.kind is HostKind.NOT_A_HOST:
        raise SetupRefused("there is nothing to upgrade; `ha-agent deploy` or `join` set one up")
    setup_dir = own.host.state_dir / FOLDER_NAME
    backup = newest_backup(setup_dir)
    if found.kind is HostKind.OURS and backup is None:
        asked.say("it was set up by ha-agent: there is nothing to upgrade, or to go back to")
        return found.kind
    facts = read_facts(files.root, backup)
    settings = settings_before(files, facts)
    async with contextlib.AsyncExitStack() as stack:
        vdsm = await stack.enter_async_context(connected_vdsm(settings.vdsm, clock))
        lane = StorageLane(
            "setup", str(own.host.run_dir), clock=clock, launch=launch_for_daemons()
        )
        stack.push_async_callback(lane.close)
        journal = stack.enter_context(
            open_journal(own.host.state_dir, "upgrade", facts.subject, write=not asked.dry_run)
        )
        ground = Ground(
            root=files.root,
            setup_dir=setup_dir,
            domain_path=settings.storage.domain_path,
            host_name=settings.host.name,
            facts=facts,
            vdsm=vdsm,
            lane=lane,
            services=asked.services,
            watch=BrokerWatch(SocketBroker(str(settings.broker.socket), clock)),
            clock=clock,
            journal=journal,
            accepted=asked.accepted,
        )
        await run_upgrade(
            ground,
            mount_options=mount_options_of(settings.storage.domain_path, _mounts()),
            load=lambda: layers.load(files.paths, files.environ, host_root=files.root),
            say=asked.say,
            dry_run=asked.dry_run,
        )
    return found.kind


async def downgrade(asked: Asked) -> None:
    """Put this host back. Raises SetupRefused, SetupFailed, and other HaAgentErrors."""
    clock, own = SystemClock(), asked.files.settings_alone()
    setup_dir = own.host.state_dir / FOLDER_NAME
    backup = newest_backup(setup_dir)
    if backup is None:
        raise SetupRefused(f"there is no backup of an upgrade in {setup_dir}: nothing to put back")
    asked.say(f"putting back {backup.folder}")
    name = backup.folder.name
    with open_journal(own.host.state_dir, "downgrade", name, write=not asked.dry_run) as journal:
        down = Downgrade(
            root=asked.files.root,
            backup=backup,
            services=asked.services,
            clock=clock,
            journal=journal,
            force=asked.force,
            keep=asked.keep,
        )
        await run_downgrade(down, say=asked.say, dry_run=asked.dry_run)


def settings_before(files: OwnFiles, facts: HostFacts) -> Config:
    """Return the configuration that the host will have, but for the lease: it says where VDSM and
    the storage are. Raises SetupRefused, before anything was done, where it has faults."""
    data = facts.files[HOSTED_ENGINE_CONF]
    # Our default back end is refused on some kinds of storage, and the step that chooses one that
    # fits (upgrade/lease.py) can't look yet: sanlock fits all, and a device any block domain.
    keys = {BACKEND_KEY: "sanlock"}
    if facts.conf.values.get("domainType") in BLOCK_DOMAIN_TYPES:
        keys[SANLOCK_PATH_KEY] = f"/dev/{facts.domain_uuid}/not-chosen-yet"
    if facts.era is HostKind.OLD:
        keys = of_35(facts, keys)
    return files.settings_with(local_conf(data, facts.conf.where, keys).decode("utf-8"))


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise EnvironmentFault(f"can't read {_MOUNTS}: {error.strerror}") from error

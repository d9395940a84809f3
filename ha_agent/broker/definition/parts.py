# SPDX-License-Identifier: Apache-2.0
"""The broker's parts for the engine VM's definition, put together from the configuration."""

from __future__ import annotations

import asyncio
import functools
from typing import Callable, Optional

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.definition import DefinitionApi
from ha_agent.broker.can_do import CanDoFacts, can_do_facts
from ha_agent.broker.capacity import CapacityKeeper, guard_facts
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.definition.starts import DefinitionStarts
from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.part import Work
from ha_agent.broker.snapshot import DefinitionEntry, Report, Snapshot
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.store.shared_config import SharedConfig
from ha_agent.broker.store.writer import StoreWriter, WriterDeadlines
from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.ovfstore.guard import Refusal, judge
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.translate import DomainXml
from ha_agent.vdsm.client.verbs import Vdsm

HISTORY_FOLDER = "definitions"


class DefinitionParts:
    """The keeper of the definition, and what it, the guard and the socket need."""

    def __init__(
        self,
        config: Config,
        vdsm: Vdsm,
        lane: StorageLane,
        *,
        clock: SystemClock,
        picture: Callable[[], Snapshot],
        on_change: Callable[[DefinitionEntry], None],
    ) -> None:
        """`picture` gives the broker's snapshot as it is now."""
        self._config = config
        self._clock = clock
        self._picture = picture
        self._on_change = on_change
        self._entry = DefinitionEntry()
        self._domain_uuid = config.storage.domain_uuid
        self._history = History(
            config.host.state_dir / HISTORY_FOLDER, config.definition.history_versions
        )
        self._reader = StoreReader(
            vdsm,
            lane,
            vm_uuid=config.engine.vm_uuid,
            domain_uuid=self._domain_uuid,
            read_deadline_seconds=config.storage.ovf_deadline_seconds,
        )
        self._writer = StoreWriter(
            vdsm,
            lane,
            self._reader,
            host_id=config.host.id,
            clock=clock,
            deadlines=WriterDeadlines.with_reads_of(config.storage.ovf_deadline_seconds),
        )
        self.shared = SharedConfig(
            vdsm,
            lane,
            domain_uuid=self._domain_uuid,
            deadline_seconds=config.storage.ovf_deadline_seconds,
        )
        self.starts = DefinitionStarts(
            self._history,
            state_dir=config.host.state_dir,
            run_dir=config.host.run_dir,
            boot_id=read_boot_id(),
            vm_uuid=config.engine.vm_uuid,
            domain_uuid=self._domain_uuid,
            judge=self._judge,
            proven_by_blocks=lambda: {host.proven for host in picture().hosts},
            on_change=self._tell,
        )
        self.capacity = CapacityKeeper(vdsm.host_capabilities)
        self.keeper = DefinitionKeeper(
            self._reader,
            history=self._history,
            judge=self._judge,
            vm_conf=config.definition.vm_conf_path,
            clock=clock,
            refresh_interval_seconds=config.definition.refresh_interval_seconds,
            on_change=self._changed,
        )

    @property
    def history(self) -> History:
        """This host's accepted definitions."""
        return self._history

    def connected(self) -> None:
        """VDSM is there, perhaps anew: look at the store, ask for the host's capacity."""
        self.keeper.poke()
        self.capacity.connected()

    def work(self) -> tuple[Work, ...]:
        """Return what is to run as long as the broker."""
        return (self.keeper.run, self.capacity.run, self.starts.run)

    def reported(self, report: Report) -> None:
        """Take what the agent says of the VM that runs here."""
        self.starts.reported(report)

    def _changed(self, entry: DefinitionEntry) -> None:
        self._entry = entry
        self._tell()

    def _tell(self) -> None:
        self._on_change(self.starts.complete(self._entry))

    def api(self, access: Access) -> DefinitionApi:
        """Return the socket's verbs."""
        return DefinitionApi(
            self.keeper,
            self._writer,
            self._history,
            self.shared,
            vm_uuid=self._config.engine.vm_uuid,
            access=access,
            clock=self._clock,
            can_do_facts=self._can_do_facts,
        )

    async def _judge(
        self, new: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        if current is not None:
            # Without one nothing could start meanwhile.
            await self.capacity.first_answer()
        facts = guard_facts(
            self._picture(),
            storage_domain_uuid=self._domain_uuid,
            capabilities=self.capacity.current,
        )
        work = functools.partial(judge, new, domain, current, facts)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def _can_do_facts(self) -> CanDoFacts:
        storage, current = self._config.storage, self.keeper.current
        status = "the hosts' status blocks"
        return can_do_facts(
            self._picture(),
            None if current is None else current.vm,
            None if current is None else current.domain,
            storage_domain_uuid=self._domain_uuid,
            volumes={
                **self._reader.own_volumes,
                storage.status_image: status,
                storage.status_volume: status,
            },
            store_copies=self._reader.listed,
        )

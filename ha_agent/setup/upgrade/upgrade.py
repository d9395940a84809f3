# SPDX-License-Identifier: Apache-2.0
"""`ha-agent upgrade`: a host of the predecessor, or of oVirt 3.5, becomes one of ours.

The steps in order; each looks before it does (step.py), so that a killed run is run again:

    check            VDSM, volumes, host id                                   reads only
    backup           files, units, configuration volume, OVF                  our own folder
    conf-volume      3.5: the configuration volume                            shared storage
    definition       where the OVF_STORE has none: vm.conf as an OVF          shared storage
    lease            the ownership lease, where there is none                 shared storage
    shared-...       3.5: the five files; both: our keys                      shared storage
    local-...        hosted-engine.conf                                       this host
    configuration    ours is loaded as the daemons will load it               reads only
    old-maintenance  a ha.conf of ours from an earlier time, if any   this host
    switch           their units off, ours on                                 this host
    watching         our agent has found the VM's state                       reads only

What any step refuses is known before the first change. Shared storage and this host's file are
ready before the units are switched: the VM is without an agent on this host for the time between
two `systemctl` calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from ha_agent.config.schema import Config
from ha_agent.errors import BadInput
from ha_agent.setup.runner import run_steps
from ha_agent.setup.step import Found, Say, SetupFailed, Step
from ha_agent.setup.upgrade.check import CheckHost, KeepBackup
from ha_agent.setup.upgrade.ground import Ground
from ha_agent.setup.upgrade.kept_maintenance import ForgetOldMaintenance
from ha_agent.setup.upgrade.lease import MakeLease, lease_place
from ha_agent.setup.upgrade.steps import (
    MakeConfVolume,
    RewriteLocal,
    ShareConfiguration,
    StoreDefinition,
)
from ha_agent.setup.upgrade.switch_over import SeeItWatch, SwitchToOurs

Load = Callable[[], Config]

TO_KNOW = (
    "the engine VM is not stopped: our agent finds it running and takes it over",
    "one host at a time; agents of both kinds run in one cluster meanwhile and read each"
    " other's status",
    "where the engine VM runs on this host, migrate it away first, or set global maintenance"
    " until this is done: it has no agent for some seconds, and other hosts may try to start it."
    " The VM lease refuses that, but they count it as a failure of theirs and wait (the"
    " predecessor's: 560 s)",
    "between hosts of both kinds only the VM lease decides who runs the VM, as it did among the"
    " predecessor's; our lease is agreement among ours",
    "`ha-agent downgrade` puts this host back; what is on shared storage stays, and the"
    " predecessor skips what it does not know there",
)


class CheckConfiguration:
    """Loads the configuration as the daemons will, before they are started with it."""

    name = "configuration"
    title = "load the configuration as our daemons will"
    reads: Sequence[str] = ("hosted-engine.conf", "/etc/ha-agent/ha-agent.conf, if there is one")
    writes: Sequence[str] = ()

    def __init__(self, ground: Ground, mount_options: str, load: Load) -> None:
        self._ground = ground
        self._mount_options = mount_options
        self._load = load

    async def look(self) -> Found:
        """Not done as long as it has a fault, or means something else than was set up."""
        fault = await self._fault()
        return Found(not fault, fault or "it loads, and means this host and this lease")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Raise SetupFailed with the faults: nothing was switched yet."""
        fault = await self._fault()
        if fault:
            raise SetupFailed(f"{fault}; the predecessor still runs here")
        return "it loads"

    async def _fault(self) -> str:
        try:
            config = self._load()
        except BadInput as error:
            return str(error)
        facts = self._ground.facts
        place = await lease_place(self._ground, self._mount_options)
        path = config.lease.path if place.backend == "lockfile" else config.sanlock.path
        wanted = {
            "[host] id": (config.host.id, facts.host_id),
            "[engine] vm_uuid": (config.engine.vm_uuid, facts.vm_uuid),
            "[storage] domain_uuid": (config.storage.domain_uuid, facts.domain_uuid),
            "[lease] backend": (config.lease.backend, place.backend),
            f"[{'lease' if place.backend == 'lockfile' else 'sanlock'}] path": (
                str(path),
                place.path,
            ),
        }
        wrong = [
            f"{key} is {has}, and not {is_to_be}"
            for key, (has, is_to_be) in wanted.items()
            if has != is_to_be
        ]
        return "; ".join(wrong)


@dataclass(frozen=True)
class UpgradeStep:
    """A step, and for the plan what it reads and writes."""

    step: Step
    reads: Sequence[str]
    writes: Sequence[str]


def upgrade_steps(ground: Ground, *, mount_options: str, load: Load) -> tuple[UpgradeStep, ...]:
    """Return the steps in order, for both kinds of host: what is there already is found done."""
    steps = (
        CheckHost(ground),
        KeepBackup(ground),
        MakeConfVolume(ground),
        StoreDefinition(ground),
        MakeLease(ground, mount_options),
        ShareConfiguration(ground, mount_options),
        RewriteLocal(ground, mount_options),
        CheckConfiguration(ground, mount_options, load),
        ForgetOldMaintenance(ground.setup_dir.parent, ground.services),
        SwitchToOurs(ground.services, ground.root),
        SeeItWatch(ground.watch, ground.clock),
    )
    return tuple(UpgradeStep(step, step.reads, step.writes) for step in steps)


async def run_upgrade(
    ground: Ground, *, mount_options: str, load: Load, say: Say, dry_run: bool
) -> tuple[str, ...]:
    """Upgrade this host, or with `dry_run` print the plan; return the names of what was to do.

    Raises SetupRefused (nothing was changed), SetupFailed, EnvironmentFault, BadInput; a re-run
    goes on from there.
    """
    steps = upgrade_steps(ground, mount_options=mount_options, load=load)
    if dry_run:
        for number, one in enumerate(steps, start=1):
            say(f"[{number}/{len(steps)}] {one.step.title}")
            say(f"    reads: {', '.join(one.reads)}")
            say(f"    writes: {', '.join(one.writes) or 'nothing'}")
        for sentence in TO_KNOW:
            say(f"note: {sentence}")
    return await run_steps(
        [one.step for one in steps],
        journal=ground.journal,
        say=say,
        dry_run=dry_run,
        clock=ground.clock,
    )

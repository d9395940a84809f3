# SPDX-License-Identifier: Apache-2.0
"""Builds the ownership lease's keeper for the back end that [lease] backend names."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable, Protocol

from ha_agent.broker.identity import load_instance, read_boot_id
from ha_agent.broker.lease.cycle import LeaseKeeper, LeaseResult
from ha_agent.broker.lease.fence_deadline import GuardFence
from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.lease.rules import LeaseIdentity, LeaseTimes
from ha_agent.broker.lease.storage import Clock, FileLeaseStorage, HostIdHold, Lane
from ha_agent.broker.sanlock.hold import HolderProcess
from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.broker.sanlock.memory import own_renewals
from ha_agent.broker.sanlock.port import LaneSanlock
from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS, SanlockTimes
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.config.schema import Config, SanlockConfig


class Keeper(Protocol):
    """One host's part in the lease, whatever holds it: see lease_cycle.LeaseKeeper."""

    renewals: RenewalTally

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    @property
    def host_id(self) -> HostIdHold: ...

    def view(self) -> LeaseEntry: ...

    async def acquire(self, expected_epoch: int, why: str = "") -> LeaseResult: ...

    async def release(self, note: str) -> LeaseResult: ...

    async def abandon(self, why: str) -> LeaseResult: ...


@dataclass(frozen=True)
class LeasePart:
    """The lease's parts: `initialise` makes its place on storage, once for the cluster, and tells
    whether it did and what is there now; it raises EnvironmentFault and BadInput."""

    keeper: Keeper
    fence: GuardFence
    initialise: Callable[[], Awaitable[tuple[bool, str]]]


def sanlock_times(config: SanlockConfig) -> SanlockTimes:
    """Return the times that follow from [sanlock]."""
    return SanlockTimes(IO_TIMEOUT_SECONDS[config.profile], config.watchdog_fire_seconds)


def lease_seconds(config: Config) -> float:
    """Return how long a lease lasts that its owner does not renew, in seconds."""
    if config.lease.backend == "sanlock":
        return float(sanlock_times(config.sanlock).host_dead_seconds)
    return config.lease.lease_expiry_seconds


def lease_backend(
    config: Config,
    lane: Lane,
    *,
    clock: Clock,
    host_name: Callable[[int], str],
    on_change: Callable[[LeaseEntry], None],
) -> LeasePart:
    """Build the keeper. `lane` is one that nothing else may delay; `host_name` tells the name of
    another host's id from the status blocks, "" where it has none. Raises EnvironmentFault."""
    run_dir, vm_uuid = config.host.run_dir, config.engine.vm_uuid
    boot_id = read_boot_id()
    marker = str(config.lease.qemu_marker or "")
    fence = GuardFence(run_dir, vm_uuid, boot_id, marker)
    io_seconds = config.storage.io_deadline_seconds
    if config.lease.backend == "sanlock":
        times = sanlock_times(config.sanlock)
        sanlock = LaneSanlock(
            lane,
            str(config.sanlock.path),
            lockspace=config.sanlock.lockspace,
            resource=vm_uuid,
            host_id=config.host.id,
            times=times,
            qemu_marker=marker,
        )
        sanlock_keeper = SanlockKeeper(
            sanlock,
            times,
            host_id=config.host.id,
            holder=HolderProcess(run_dir, vm_uuid, marker, clock),
            clock=clock,
            fence=fence,
            takeover_step_seconds=config.lease.takeover_step_seconds,
            host_name=lambda one: config.host.name if one == config.host.id else host_name(one),
            on_change=on_change,
            renewals=own_renewals(run_dir, boot_id),
        )
        return LeasePart(sanlock_keeper, fence, lambda: sanlock.initialise(io_seconds))
    lease = config.lease
    identity = LeaseIdentity(
        config.host.id, config.host.name, load_instance(run_dir, boot_id), vm_uuid
    )
    storage = FileLeaseStorage(lane, str(lease.path), identity)
    keeper = LeaseKeeper(
        storage,
        LeaseTimes(
            renew_interval_seconds=lease.renew_interval_seconds,
            lease_expiry_seconds=lease.lease_expiry_seconds,
            fence_margin_seconds=lease.fence_margin_seconds,
            takeover_step_seconds=lease.takeover_step_seconds,
            renew_deadline_seconds=lease.renew_deadline_seconds,
        ),
        identity,
        clock=clock,
        fence=fence,
        on_change=on_change,
    )
    return LeasePart(keeper, fence, lambda: storage.initialise(io_seconds))

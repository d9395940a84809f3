# SPDX-License-Identifier: Apache-2.0
"""Builds ports.Hypervisor for the agent: over VDSM, or over libvirt where the host has no VDSM."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, Callable

from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.ports import Hypervisor
from ha_agent.vdsm.client.from_config import vdsm_client
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm_port import VdsmHypervisor
from ha_agent.virt.from_config import virt
from ha_agent.virt_port import VirtHypervisor


@dataclass(frozen=True)
class Chosen:
    """The hypervisor that [host] hypervisor names, with its connection.

    `start` begins to connect, `close` is awaited at the end. `follow` runs until it is cancelled
    and has the VM looked at when there is news. The VM is looked at every `poll_interval_seconds`
    in any case, and a look takes at most `look_deadline_seconds`. `name` is for people.
    """

    name: str
    port: Hypervisor
    start: Callable[[], None]
    close: Callable[[], Awaitable[None]]
    follow: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
    poll_interval_seconds: float
    look_deadline_seconds: float


def chosen(config: Config, clock: SystemClock, look_again: Callable[[], None]) -> Chosen:
    """Return what is not started yet. Raises EnvironmentFault without libvirt's binding."""
    if config.host.hypervisor == "libvirt":
        over = virt(config, clock, on_change=look_again)
        return Chosen(
            "libvirt",
            VirtHypervisor(over, config.engine.vm_uuid),
            over.start,
            over.close,
            (),
            config.libvirt.poll_interval_seconds,
            config.libvirt.call_deadline_seconds,
        )

    def connected() -> None:
        port.connected()
        look_again()

    client = vdsm_client(config.vdsm, clock, connected)
    port = VdsmHypervisor(
        Vdsm(client),
        config.engine.vm_uuid,
        shutdown_timeout_seconds=config.engine.stop_timeout_seconds,
    )

    async def follow_events() -> None:
        """Events are partial, may be lost or late, so they are only a reason to look."""
        while True:
            if port.hears(await client.next_event()):
                look_again()

    return Chosen(
        "VDSM",
        port,
        client.start,
        client.close,
        (follow_events,),
        config.vdsm.poll_interval_seconds,
        config.vdsm.call_deadline_seconds,
    )

# SPDX-License-Identifier: Apache-2.0
"""What people and the engine ask of the cluster, through whichever host answers them."""

from __future__ import annotations

from typing import Optional

from ha_agent.errors import EnvironmentFault
from ha_agent.sim.broker import SimBroker
from ha_agent.sim.world import World

_ANSWER_SECONDS = 15.0


def push_definition(world: World, *, sound: bool) -> None:
    """The engine has written a new definition, and tells all brokers."""
    number = int(world.definition.rpartition("-")[2]) + 1
    world.definition = f"definition-{number}"
    if not sound:
        world.bad_definitions.add(world.definition)
    for host in world.hosts.values():
        if host.broker is not None:
            host.broker.process.call_later(
                host.dice.uniform(0.0, 1.0), host.broker.pushed, world.definition
            )


def set_global_maintenance(
    world: World, enabled: bool, duration_seconds: Optional[float] = None
) -> None:
    """An operator sets the flag on the first host whose broker takes it."""
    if duration_seconds is not None:
        world.outside.call_later(duration_seconds, set_global_maintenance, world, not enabled)
    broker = _working_broker(world)
    if broker is None:
        world.say("global maintenance: no broker answers")
        return

    async def ask() -> None:
        try:
            await broker.monitor.set_global_maintenance(enabled)
        except EnvironmentFault as fault:
            world.flag_set(broker.host, enabled, False, str(fault))
        else:
            world.flag_set(broker.host, enabled, True)

    broker.process.spawn(ask())


def shut_cluster_down(world: World) -> None:
    """`ha-agent cluster shutdown`."""
    set_global_maintenance(world, True)


def resume_cluster(world: World) -> None:
    """`ha-agent cluster resume`."""
    set_global_maintenance(world, False)


def _working_broker(world: World) -> Optional[SimBroker]:
    """The operator tries one host after the other."""
    for host in world.hosts.values():
        broker = host.broker
        if broker is not None and host.awake and not broker.process.hung:
            return broker
    return None

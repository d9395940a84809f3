# SPDX-License-Identifier: Apache-2.0
"""What people and the engine ask of the cluster, through whichever host answers them.

An operator whose command fails reads the error and tries again, on the next host that works.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Callable, Optional

from ha_agent.broker.maintenance import order as orders
from ha_agent.errors import EnvironmentFault
from ha_agent.sim.broker import SimBroker
from ha_agent.sim.world import World

_RETRY_SECONDS = 5.0
_TRIES = 11
_WHO = "operator"

Order = Callable[[SimBroker], Coroutine[Any, Any, object]]


def push_definition(world: World, *, sound: bool) -> None:
    """The engine has written a new definition, and tells all brokers."""
    world.definition = f"{int(world.definition, 16) + 1:012x}"
    if not sound:
        world.bad_definitions.add(world.definition)
    for host in world.hosts.values():
        if host.broker is not None:
            host.broker.process.call_later(
                host.dice.uniform(0.0, 1.0), host.broker.definition.pushed, world.definition
            )


def set_global_maintenance(
    world: World, enabled: bool, duration_seconds: Optional[float] = None
) -> None:
    """An operator sets or clears it; with an end, the brokers end it."""

    def give(broker: SimBroker) -> Coroutine[Any, Any, object]:
        if not enabled:
            return broker.maintenance.clear(who=_WHO)
        return broker.maintenance.give(orders.MAINTENANCE, who=_WHO, for_seconds=duration_seconds)

    _order(world, give, enabled)


def shut_cluster_down(world: World) -> None:
    """`ha-agent cluster shutdown`."""
    _order(world, lambda broker: broker.maintenance.give(orders.SHUTDOWN, who=_WHO), True)


def resume_cluster(world: World) -> None:
    """`ha-agent cluster resume`."""
    _order(world, lambda broker: broker.maintenance.clear(who=_WHO), False)


def _order(world: World, order: Order, enabled: bool, tries: int = _TRIES) -> None:
    working = [
        host.broker
        for host in world.hosts.values()
        if host.broker is not None and host.awake and not host.broker.process.hung
    ]
    if not working:
        world.say("the operator finds no broker that answers")
        return _again(world, order, enabled, tries)
    broker = working[(_TRIES - tries) % len(working)]

    async def ask() -> None:
        try:
            await order(broker)
        except EnvironmentFault as fault:
            world.flag_set(broker.host, enabled, False, str(fault))
            _again(world, order, enabled, tries)
        else:
            world.flag_set(broker.host, enabled, True)

    lost = _Once(lambda: _again(world, order, enabled, tries))
    broker.process.on_killed.append(lost)
    broker.process.spawn(ask()).add_done_callback(lambda _: lost.forget())
    return None


def _again(world: World, order: Order, enabled: bool, tries: int) -> None:
    if tries > 1:
        world.outside.call_later(_RETRY_SECONDS, _order, world, order, enabled, tries - 1)
    else:
        world.say("the operator gives up")


class _Once:
    """What is done if the broker dies before it has answered."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then: Optional[Callable[[], None]] = then

    def __call__(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def forget(self) -> None:
        self._then = None

# SPDX-License-Identifier: Apache-2.0
"""A simulated world that a test steps through, and what is to be seen in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ha_agent.sim.faults import parse
from ha_agent.sim.inject import inject
from ha_agent.sim.loop import new_loop
from ha_agent.sim.spec import Spec
from ha_agent.sim.world import World


class Story:
    """One world. `do` lets a fault happen now: "h1 power-off"."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def now(self) -> float:
        return self.world.loop.now

    @property
    def log(self) -> str:
        return "\n".join(self.world.log)

    @property
    def running_on(self) -> list[int]:
        return self.world.engine.disk_open_on

    def wait(self, seconds: float) -> None:
        self.world.loop.run_until(self.now + seconds)

    def do(self, what: str) -> None:
        inject(self.world, parse(f"at 0 {what}", "test"))

    def state(self, host_id: int) -> str:
        agent = self.world[host_id].agent
        assert agent is not None
        return agent.cycle.state.value


@contextlib.contextmanager
def story(*, seconds: float = 5.0, **spec: Any) -> Iterator[Story]:
    """Build a world, let it run for so long, and give it to the test."""
    spec = {"hosts": 2, "engine_on": 1, **spec}
    loop = new_loop()
    with loop.entered():
        world = World(Spec(seconds=1e6, **spec), loop)
        world.start()
        told = Story(world)
        try:
            told.wait(seconds)
            yield told
        finally:
            loop.end()

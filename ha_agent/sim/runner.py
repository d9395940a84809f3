# SPDX-License-Identifier: Apache-2.0
"""Runs one simulation: a Spec in, a Result out.

The same Spec gives the same Result, byte for byte, in any process, on any Python version: all
chance comes from the seed, all time from the loop.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterable, Iterator
from typing import Callable, Optional

from ha_agent.sim.inject import inject
from ha_agent.sim.loop import new_loop
from ha_agent.sim.spec import Result, Spec
from ha_agent.sim.witness import Subscriber, Witness
from ha_agent.sim.world import Checker, World


def run(
    spec: Spec,
    subscribers: Iterable[Subscriber] = (),
    *,
    checkers: Iterable[Checker] = (),
    log: Optional[Callable[[str], None]] = None,
) -> Result:
    """Simulate, held to all rules (rules.py).

    `subscribers` hear of every event; `log` is called with each line as it is said.

    Raises what the simulated code did not handle: a bug, with its traceback.
    """
    loop = new_loop()
    with _quiet(), loop.entered():
        world = World(spec, loop, (Witness(subscribers), *checkers), log)
        try:
            world.start()
            for fault in spec.faults:
                loop.outside.call_later(fault.at_seconds, inject, world, fault)
            loop.run_until(spec.seconds)
            world.end()
            return Result(
                spec,
                tuple(world.log),
                tuple(world.violations),
                tuple(world.outages),
                loop.steps,
                world.ticks,
                world.digest(),
            )
        finally:
            loop.end()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The simulated daemons' own log says nothing that the simulation's log does not."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        logging.disable(before)

# SPDX-License-Identifier: Apache-2.0
"""The VM runs on another host and nobody tells of it: seen by the engine's page alone. Pure.

A host that was refused the VM lease knows that the VM is elsewhere. Where the agent there was
stopped or hangs, or all of its status block is, no block says so, nor will one say when it ends.

    refused         the ownership is given up, a pause of lease_elsewhere_pause_seconds; from now
                    on this host asks for the page (Report.watch_engine)
    page good       nobody tries: the VM lease would refuse it again
    page not good   tried as before. So the death of that host is seen within one look, 2 s, and
                    its deadline, 5 s, sooner than by any pause between two tries; what is waited
                    for then is the end of its VM lease
    page_elsewhere_seconds after the refusal    tried although the page is good: what answers
                    there may be something else

Neither makes a second VM more likely: the VM lease alone forbids that, before and after.
"""

from __future__ import annotations

from dataclasses import replace

from ha_agent.fsm.context import Context
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, Observation, VmCondition
from ha_agent.instant import Instant

_NOT_HERE = (VmCondition.ABSENT, VmCondition.DOWN, VmCondition.MIGRATING_HERE)


def page_wanted(memory: Memory, observation: Observation) -> bool:
    """Return whether this host has a use for the engine's page."""
    here = observation.vm.condition not in _NOT_HERE
    asked = memory.sight.since is not None
    return here or asked or _was_refused(memory, observation.now)


def page_elsewhere(memory: Memory, observation: Observation) -> bool:
    """Return whether the engine answers, seen from a host that was refused the VM lease."""
    # A page that was good before this host came to its state may be of the VM that it had.
    page = observation.health.of_vm_since(memory.state_since)
    return _was_refused(memory, observation.now) and page.health is Health.GOOD


def no_engine_elsewhere(context: Context) -> bool:
    """no engine answers from where its VM lease was held"""
    return not page_elsewhere(context.memory, context.observation)


def believe_page(context: Context, memory: Memory) -> Memory:
    """Take a good page for that of the VM which has the VM lease, for some time."""
    until = context.now + context.policy.page_elsewhere_seconds
    return replace(memory, elsewhere_until=until)


def _was_refused(memory: Memory, now: Instant) -> bool:
    return memory.elsewhere_until is not None and now < memory.elsewhere_until

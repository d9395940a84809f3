# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of a set-up: looks at all first, then does what is not done, in order.

Timeline of a run:
1. Every step looks. What any of them refuses is known before the first change, all at once.
2. A dry run shows the plan and ends here; nothing was changed.
3. Each step looks again (an earlier one may have changed what it sees), does its work if there
   is some, and looks once more: what it then doesn't see as done did not happen.

While a step says nothing, the runner tells every TELL_SECONDS that it is at it still: a person who
sees nothing for minutes takes it for hung, and kills it.

A re-run is the same run: steps that are done say so and do nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ha_agent.errors import HaAgentError
from ha_agent.ports import Clock
from ha_agent.setup.journal import Journal
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused, Step

T = TypeVar("T")

TELL_SECONDS = 10.0


async def run_steps(
    steps: Sequence[Step],
    *,
    journal: Journal,
    say: Say,
    dry_run: bool,
    clock: Clock,
    tell_seconds: float = TELL_SECONDS,
) -> tuple[str, ...]:
    """Bring all steps to done; return the names of those that had something to do.

    With `dry_run` nothing is done, and the names are the plan. `say` gets lines such as
    "[3/12] create the status volume ... done (0.8 s): volume 5f3a". Raises SetupRefused with all
    refusals of the first look, SetupFailed, EnvironmentFault; each names the step.
    """
    plan = await _look_at_all(steps, say=say, show=dry_run, tell_seconds=tell_seconds)
    if dry_run:
        steps_text = "1 step" if len(plan) == 1 else f"{len(plan)} steps"
        say(f"dry run: {steps_text} to do, nothing was changed")
        return plan
    changed = []
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.title} ..."
        after = _After(head, say)
        found = await _heard(_look(step), after, tell_seconds)
        if found.done:
            say(f"{head} already done: {found.text}")
            continue
        say(head)
        journal.begin()
        text, seconds = await _heard(_do(step, after, clock), after, tell_seconds)
        found = await _look(step)
        if not found.done:
            raise SetupFailed(f"{step.title}: it was done, but what is there is: {found.text}")
        journal.step_done(step.name, text)
        changed.append(step.name)
        say(f"{head} done ({seconds:.1f} s): {text}")
    journal.finish()
    return tuple(changed)


class _After:
    """Says parts of a line after its head, and knows whether something was said."""

    def __init__(self, head: str, say: Say) -> None:
        self._head = head
        self._say = say
        self.has_spoken = False

    def __call__(self, part: str) -> None:
        self.has_spoken = True
        self._say(f"{self._head} {part}")


async def _heard(work: Coroutine[Any, Any, T], after: _After, tell_seconds: float) -> T:
    """Return what `work` returns, and tell meanwhile that it is at it."""
    task = asyncio.ensure_future(work)
    waited_seconds = 0.0
    try:
        while not (await asyncio.wait({task}, timeout=tell_seconds))[0]:
            waited_seconds += tell_seconds
            if not after.has_spoken:
                after(f"at it for {waited_seconds:.0f} s")
            after.has_spoken = False
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _look_at_all(
    steps: Sequence[Step], *, say: Say, show: bool, tell_seconds: float
) -> tuple[str, ...]:
    plan, refused = [], []
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.title}"
        try:
            found = await _heard(_look(step), _After(f"{head}: looking:", say), tell_seconds)
        except SetupRefused as error:
            refused.append(str(error))
            found = Found(False, f"refused: {error}")
        if not found.done:
            plan.append(step.name)
        if show:
            say(f"{head}: {'already done' if found.done else 'to do'}: {found.text}")
    if refused:
        raise SetupRefused("\n".join(refused))
    return tuple(plan)


async def _look(step: Step) -> Found:
    try:
        return await step.look()
    except HaAgentError as error:
        raise _named(step, error) from error


async def _do(step: Step, say: Say, clock: Clock) -> tuple[str, float]:
    began = clock.now()
    try:
        text = await step.do(say)
    except HaAgentError as error:
        raise _named(step, error) from error
    return text, clock.now() - began


def _named(step: Step, error: HaAgentError) -> HaAgentError:
    kind = SetupRefused if isinstance(error, SetupRefused) else SetupFailed
    return kind(f"can't {step.title}: {error}")

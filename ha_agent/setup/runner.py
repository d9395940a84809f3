# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of a set-up: looks at all first, then does what is not done, in order.

Timeline of a run:
1. Every step looks. What any of them refuses is known before the first change, all at once.
2. A dry run shows the plan and ends here; nothing was changed.
3. Each step looks again (an earlier one may have changed what it sees), does its work if there
   is some, and looks once more: what it then doesn't see as done did not happen.

A re-run is the same run: steps that are done say so and do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ha_agent.errors import HaAgentError
from ha_agent.ports import Clock
from ha_agent.setup.journal import Journal
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused, Step


async def run_steps(
    steps: Sequence[Step], *, journal: Journal, say: Say, dry_run: bool, clock: Clock
) -> tuple[str, ...]:
    """Bring all steps to done; return the names of those that had something to do.

    With `dry_run` nothing is done, and the names are the plan. `say` gets lines such as
    "[3/12] create the status volume ... done (0.8 s): volume 5f3a". Raises SetupRefused with all
    refusals of the first look, SetupFailed, EnvironmentFault; each names the step.
    """
    plan = await _look_at_all(steps, say=say, show=dry_run)
    if dry_run:
        steps_text = "1 step" if len(plan) == 1 else f"{len(plan)} steps"
        say(f"dry run: {steps_text} to do, nothing was changed")
        return plan
    changed = []
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.title} ..."
        found = await _look(step)
        if found.done:
            say(f"{head} already done: {found.text}")
            continue
        say(head)
        journal.begin()
        text, seconds = await _do(step, _after(head, say), clock)
        found = await _look(step)
        if not found.done:
            raise SetupFailed(f"{step.title}: it was done, but what is there is: {found.text}")
        journal.step_done(step.name, text)
        changed.append(step.name)
        say(f"{head} done ({seconds:.1f} s): {text}")
    journal.finish()
    return tuple(changed)


def _after(head: str, say: Say) -> Say:
    return lambda part: say(f"{head} {part}")


async def _look_at_all(steps: Sequence[Step], *, say: Say, show: bool) -> tuple[str, ...]:
    plan, refused = [], []
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.title}"
        try:
            found = await _look(step)
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

# SPDX-License-Identifier: Apache-2.0
"""What is said of a run that broke a rule, so that it can be read, and run again. Pure.

`commands_text` writes a simulation in the format of a scenario's `commands` (scenario.py): what
a seed drew, or the shrinker left of it, can be run by `ha-agent simulate FILE`, and becomes a
scenario with a README line beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ha_agent.broker.lease.rules import LeaseTimes
from ha_agent.fsm.policy import Policy
from ha_agent.sim.spec import Result, Spec

LAST_LINES = 50

RULE_IN_WORDS = {
    "one-vm": "at most one QEMU has the engine VM's disk open",
    "covered": "a VM that runs is covered by its host's lease or by an armed fence",
    "fence-first": "nobody takes the lease while the VM runs at its owner",
    "only-vm-lease": "the VM lease is the second line: the first must have kept the peace",
    "needless-stop": "a healthy engine is stopped for a listed cause only",
    "flag-durable": "a flag that was reported is on storage until somebody changes it",
    "status-answered": "a status query is answered from memory, whatever storage does",
    "keeps-ticking": "an agent waits on nothing: it ticks while it runs",
    "effects-end": "one effect at a time, and each has an outcome within its deadlines",
    "score-range": "a score is within 0 to 3400",
    "comes-up": "with one able host, the engine comes up within the budget and stays up",
    "nothing-flaps": "in calm nothing changes",
}

_SETTINGS = {
    "boot-seconds": "boot_seconds",
    "host-boot-seconds": "host_boot_seconds",
    "clock-spread": "clock_spread",
    "calm-seconds": "calm_seconds",
    "vm-lease-expiry-seconds": "vm_lease_expiry_seconds",
}


def commands_text(spec: Spec) -> str:
    """Return the `commands` file of a simulation; scenario.parse gives back the simulation."""
    return "".join(f"{line}\n" for line in _commands(spec))


def _commands(spec: Spec) -> Iterator[str]:
    standard = Spec(seconds=spec.seconds)
    yield f"hosts {spec.hosts}"
    yield f"seconds {spec.seconds:g}"
    yield f"seed {spec.seed}"
    if spec.engine_on:
        yield f"engine on h{spec.engine_on}"
    if spec.old_hosts:
        yield f"old {' '.join(f'h{host_id}' for host_id in spec.old_hosts)}"
    if spec.lease_backend != standard.lease_backend:
        yield f"lease-backend {spec.lease_backend}"
    for word, name in _SETTINGS.items():
        if getattr(spec, name) != getattr(standard, name):
            yield f"{word} {getattr(spec, name):g}"
    given: tuple[tuple[str, object, object], ...] = (
        ("policy", spec.policy, Policy()),
        ("lease", spec.times, LeaseTimes()),
    )
    for word, values, defaults in given:
        for field in dataclasses.fields(defaults):  # type: ignore[arg-type]
            value = getattr(values, field.name)
            if value != getattr(defaults, field.name) and isinstance(value, float):
                yield f"{word} {field.name} {value:g}"
    for fault in spec.faults:
        yield fault.text()


def report(result: Result, *, whole_log: bool = False) -> str:
    """Return what broke, and the log's last lines until then (or all of it)."""
    lines = []
    for found in result.violations[:5]:
        rule = RULE_IN_WORDS.get(found.checker, found.checker)
        lines.append(f"{found.at_seconds:9.2f} {found.checker}: {found.what}")
        lines.append(f"          the rule: {rule}")
    if len(result.violations) > 5:
        lines.append(f"          and {len(result.violations) - 5} more")
    log = result.log if whole_log else _until(result)[-LAST_LINES:]
    lines.append("")
    lines.append("the log:" if whole_log else f"the last {len(log)} lines of the log before it:")
    lines.extend(f"  {line}" for line in log)
    return "\n".join(lines) + "\n"


def _until(result: Result) -> tuple[str, ...]:
    """The log up to the first violation: what comes after it has its causes before."""
    if not result.violations:
        return result.log
    end = result.violations[0].at_seconds + 0.01
    return tuple(line for line in result.log if _seconds(line) <= end)


def _seconds(line: str) -> float:
    try:
        return float(line.split(None, 1)[0])
    except (ValueError, IndexError):
        return 0.0

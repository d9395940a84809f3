# SPDX-License-Identifier: Apache-2.0
"""Scenarios: a cluster, what is done to it, and what must come of it, as a folder of text.

    README         one line: what happens, and what an operator learns from it
    commands       the cluster, the faults, what is expected; the format is below
    expected.log   what the simulated cluster said; compared to the byte

`commands` has a line for each thing; empty lines and lines that begin with '#' are left out:

    hosts 3                       host ids 1 to 3; this is the default
    engine on h1                  the engine is up there when the log begins; else: a cold start
    old h2 h3                     these run the predecessor
    seconds 300                   how long it lasts
    boot-seconds 20               how long the engine needs to boot
    host-boot-seconds 60          how long a host needs
    seed 7                        for what is left open: latencies, clock offsets
    clock-spread 0.001            clocks run at rates within 1 +- this
    calm-seconds 900              the last so many have no fault: liveness.py has what follows
    vm-lease-expiry-seconds 140   how long a dead host's VM lease stays held
    lease-backend sanlock         sanlock, profile "fast", has both leases; else: lockfile
    policy NAME VALUE             a field of fsm/policy.py, in its unit
    lease NAME VALUE              a field of broker/lease/rules.py's LeaseTimes
    at 30 h1 power-off            a fault: faults.py
    expect engine up on h2 within 60 after 30     expect.py

Expectations say what matters whatever the words of the log; expected.log is for people, who see
by its difference what a change does.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha_agent.broker.lease.rules import LeaseTimes
from ha_agent.errors import BadInput
from ha_agent.fsm.policy import Policy
from ha_agent.sim import expect, faults
from ha_agent.sim.spec import LOCKFILE, SANLOCK, Result, Spec

FOLDER = Path(__file__).parent / "scenarios"

_NUMBERS = {
    "seconds": "seconds",
    "boot-seconds": "boot_seconds",
    "host-boot-seconds": "host_boot_seconds",
    "clock-spread": "clock_spread",
    "calm-seconds": "calm_seconds",
    "vm-lease-expiry-seconds": "vm_lease_expiry_seconds",
}
_WHOLE_NUMBERS = {"hosts": "hosts", "seed": "seed"}


@dataclass(frozen=True)
class Scenario:
    """One scenario. `expected` is its log, "" where there is none yet."""

    folder: Path
    readme: str
    spec: Spec
    expectations: tuple[expect.Expectation, ...]
    expected: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def broken(self, result: Result, history: expect.History) -> list[str]:
        """Return what is wrong with a run: expectations that don't hold, and violations."""
        found = [line for item in self.expectations if (line := item.broken(result, history))]
        found += [f"{v.at_seconds:.2f} {v.checker}: {v.what}" for v in result.violations]
        return found

    def difference(self, log: Sequence[str]) -> str:
        """Return a unified diff from the expected log to this one; "" when they are equal."""
        before = self.expected.splitlines(keepends=True)
        after = log_text(log).splitlines(keepends=True)
        path = str(self.folder / "expected.log")
        return "".join(difflib.unified_diff(before, after, path, "this run"))

    def update(self, log: Sequence[str]) -> None:
        """Make this log the expected one."""
        (self.folder / "expected.log").write_text(log_text(log), encoding="utf-8")


def log_text(log: Sequence[str]) -> str:
    """Return a run's log as the file has it."""
    return "".join(f"{line}\n" for line in log)


def names() -> list[str]:
    """Return the names of the scenarios that come with this program, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/commands"))


def load(name: str) -> Scenario:
    """Read a scenario by its name, or by the path of its folder.

    Raises BadInput that names file and line.
    """
    folder = FOLDER / name if re.fullmatch(r"[a-z0-9-]+", name) else Path(name)
    if not (folder / "commands").is_file():
        close = difflib.get_close_matches(name, names(), n=3)
        hint = f"; near it: {', '.join(close)}" if close else ""
        raise BadInput(f"no scenario of this name, nor a folder with 'commands'{hint}", where=name)
    readme = _text(folder / "README").strip()
    if not readme or "\n" in readme:
        raise BadInput("one line is wanted", where=str(folder / "README"))
    path = folder / "commands"
    spec, expectations = parse(_text(path), str(path))
    expected = folder / "expected.log"
    return Scenario(
        folder, readme, spec, expectations, _text(expected) if expected.exists() else ""
    )


def parse(text: str, where: str) -> tuple[Spec, tuple[expect.Expectation, ...]]:
    """Return what a `commands` file says. Raises BadInput with "file:line"."""
    settings: dict[str, Any] = {"seconds": 0.0}
    found: list[tuple[str, faults.Fault]] = []
    expectations: list[expect.Expectation] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line, place = " ".join(raw.split()), f"{where}:{number}"
        word = line.partition(" ")[0]
        if not line or line.startswith("#"):
            continue
        if word == "at":
            found.append((place, faults.parse(line, place)))
        elif word == "expect":
            expectations.append(expect.parse(line, place))
        else:
            _set(settings, line, place)
    spec = Spec(
        faults=tuple(fault for _, fault in found),
        policy=dataclasses.replace(Policy(), **settings.pop("policy", {})),
        times=dataclasses.replace(LeaseTimes(), **settings.pop("lease", {})),
        **settings,
    )
    _check(spec, found, where)
    return spec, tuple(expectations)


def _set(settings: dict[str, Any], line: str, place: str) -> None:
    word, _, rest = line.partition(" ")
    if word in _NUMBERS:
        settings[_NUMBERS[word]] = _number(rest, place)
    elif word in _WHOLE_NUMBERS:
        settings[_WHOLE_NUMBERS[word]] = int(_number(rest, place))
    elif word == "engine" and rest.startswith("on "):
        settings["engine_on"] = _host(rest[3:], place)
    elif word == "lease-backend":
        if rest not in (LOCKFILE, SANLOCK):
            raise BadInput(f"{word}: {rest!r} is none of {LOCKFILE}, {SANLOCK}", where=place)
        settings["lease_backend"] = rest
    elif word == "old":
        settings["old_hosts"] = tuple(_host(name, place) for name in rest.split())
    elif word in ("policy", "lease"):
        fields = dataclasses.fields(Policy if word == "policy" else LeaseTimes)
        name, _, value = rest.partition(" ")
        plain = [field.name for field in fields if isinstance(field.default, float)]
        if name not in plain:
            raise BadInput(f"{word}: {name!r} is none of {', '.join(plain)}", where=place)
        settings.setdefault(word, {})[name] = _number(value, place)
    else:
        raise BadInput(f"{word!r} is no setting, nor 'at' or 'expect'", where=place)


def _check(spec: Spec, found: Sequence[tuple[str, faults.Fault]], where: str) -> None:
    if not spec.seconds > 0:
        raise BadInput("no line 'seconds ...'", where=where)
    if spec.hosts < 1:
        raise BadInput("hosts: at least 1", where=where)
    if max((spec.engine_on, *spec.old_hosts)) > spec.hosts:
        raise BadInput(f"there are {spec.hosts} hosts only", where=where)
    if spec.is_sanlock and spec.old_hosts:
        raise BadInput("old hosts are not simulated with sanlock", where=where)
    if unsafe := spec.times.faults():
        raise BadInput("; ".join(unsafe), where=where)
    for place, fault in found:
        target = fault.target if faults.KINDS[fault.kind].value == "host" else 0
        if max(fault.host_id, target) > spec.hosts:
            raise BadInput(f"there are {spec.hosts} hosts only", where=place)
        if fault.at_seconds > spec.seconds:
            raise BadInput(f"it ends at {spec.seconds:g}, before this", where=place)


def _number(text: str, place: str) -> float:
    if fault := faults.value_fault("number", text):
        raise BadInput(fault, where=place)
    return float(text)


def _host(text: str, place: str) -> int:
    if fault := faults.value_fault("host", text):
        raise BadInput(fault, where=place)
    return int(text[1:])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(str(error), where=str(path)) from None

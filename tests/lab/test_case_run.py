# SPDX-License-Identifier: Apache-2.0
"""A case from its begin to its end, on hosts of memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional, cast

from demo.guest import Counters
from lab.budgets import Budget, Budgets
from lab.case import Case, Lab, guarded, run_case
from lab.observer import Counted, Seen
from lab.ports import LabError
from lab.qemu_watch import Found, QemuWatch
from lab.view import NotSo

SEEN = Seen(1.0, 0.0, 0, 1, (), Counters(1, 10), Counters(1, 20), ())


class World:
    """Three hosts with the VM on host1; the view's answers are used up one by one."""

    def __init__(self, *settled: Optional[str], seen: Seen = SEEN) -> None:
        self.done: list[str] = []
        self._settled = list(settled)
        qemus = QemuWatch(("vm",), (), lambda: {})
        qemus.note([Found(11, 1, "pid:[1]")])
        self.boots = [1]
        counters = SimpleNamespace(look_at_disk=lambda: None, last=self._counted)
        page = SimpleNamespace(good_since=lambda at: at)
        observer = SimpleNamespace(
            qemus=qemus,
            begin=lambda: 0.0,
            seen=lambda _begun: seen,
            counters=counters,
            page=page,
        )
        hosts = {
            name: SimpleNamespace(name=name, leader=1) for name in ("host1", "host2", "host3")
        }
        cluster = SimpleNamespace(hosts=hosts, storage=SimpleNamespace(kind="file"))
        view = SimpleNamespace(settle=self._settle)
        self.lab = Lab(
            cast(Any, cluster), cast(Any, observer), cast(Any, view), Budgets(), self.say, Path()
        )

    def say(self, _text: str) -> None:
        pass

    def _settle(self, _limit_seconds: float) -> str:
        owner = self._settled.pop(0)
        if owner is None:
            raise NotSo("not well")
        return owner

    def _counted(self) -> Counted:
        boots = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        return Counted(float(boots), Counters(boots, 10 * boots))

    def case(self, error: Optional[Exception] = None, on: str = "owner") -> Case:
        def act(_lab: Lab, target: str) -> Optional[Budget]:
            self.done.append(f"act {target}")
            if error is not None:
                raise error
            return None

        def mend(_lab: Lab, target: str) -> None:
            self.done.append(f"mend {target}")

        return Case("x", "y", act, Budgets.untouched, on=on, mend=mend, awaits=False)


def test_all_is_well_before_and_after() -> None:
    world = World("host1", "host1")
    result = run_case(world.lab, world.case())
    assert result.passed
    assert world.done == ["act host1", "mend host1"]


def test_another_host_is_one_without_the_vm() -> None:
    world = World("host2", "host2")
    run_case(world.lab, world.case(on="other"))
    assert world.done == ["act host1", "mend host1"]


def test_what_goes_wrong_is_mended_all_the_same() -> None:
    world = World("host1", "host1")
    result = run_case(world.lab, world.case(NotSo("the guest does not")))
    assert result.problems == ("the guest does not",)
    assert world.done == ["act host1", "mend host1"]


def test_hosts_that_are_not_well_get_no_case() -> None:
    world = World(None)
    result = run_case(world.lab, world.case())
    assert result.problems == ("before the case: not well",)
    assert result.seen is None
    assert world.done == []


def test_a_boot_that_is_due_is_waited_for() -> None:
    """A guest does later what it was asked to; until then all looks well."""
    world = World("host1", "host1")
    world.boots = [4, 4, 4, 5]

    def act(lab: Lab, _target: str) -> None:
        lab.boot_is_due()

    run_case(world.lab, dataclasses.replace(world.case(), act=act))
    assert world.boots == [5]


def test_hosts_that_do_not_get_well_again_fail_the_case() -> None:
    world = World("host1", None)
    result = run_case(world.lab, world.case())
    assert result.problems == ("afterwards: not well",)
    assert result.seen is SEEN


def test_what_was_seen_is_judged() -> None:
    world = World("host1", "host1", seen=dataclasses.replace(SEEN, most_vms=2))
    (problem,) = run_case(world.lab, world.case()).problems
    assert problem.startswith("2 VMs could run at once")


def test_a_lab_that_fails_is_the_cases_problem() -> None:
    world = World("host1")
    result = guarded(world.lab, world.case(LabError("host1 does not boot")))
    assert result.problems == ("the lab: host1 does not boot",)
    assert world.done == ["act host1", "mend host1"]

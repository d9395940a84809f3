# SPDX-License-Identifier: Apache-2.0
"""The short form of `make mutate`: a fixed sample of mutants through the real machinery, each of
which the first tests that see it must catch; and what a worker says of other mutants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from mutate.mutants import mutants
from mutate.pool import BROKEN, CAUGHT, SURVIVED, Job, Pool, Verdict, WorkerFailed
from mutate.targets import ROOT, TARGETS, arguments_of

pytestmark = pytest.mark.long
GUARDS = "ha_agent.fsm.guards"
QUICK = (("tests/fsm/test_guards.py",),)
WALL_SECONDS = 55.0
# By the file's name, what each mutant's key has to have in it: safety comes first.
SAMPLE = {
    "guards": (
        "not_held_back:context.now >= not_before becomes context.now > not_before",
        "our_turn:turn is not None and context.now >= turn becomes turn is not None",
        "lease_available:LeaseCondition.FREE dropped",
        "hung:unhealthy(context) and ",
    ),
    "takeover": (
        "rank:(-peer.score, peer.host_id) < mine becomes (-peer.score, peer.host_id) >= mine",
        "peers_with_vm:peer.host_id != holder becomes peer.host_id == holder",
        "peer.able and (peer.predecessor or peer.host_id != dead_holder) becomes peer.able or",
    ),
    "score": ("entry State.LOCAL_MAINTENANCE dropped",),
    "row": ("hold_back:context.now + pause_seconds becomes",),
    "lease/rules": (
        "LeaseObserver.saw:sent >= self._since + self._times.lease_expiry_seconds becomes",
        "LeaseRecord.held_by:self.state == HELD and self.instance == identity.instance becomes",
        "LeaseTimes.faults:3 * self.renew_interval_seconds < self.fence_after_seconds becomes",
        "LeaseRecord.renewed:self.counter + 1 becomes self.counter + 0",
    ),
    "lease/cycle": ("LeaseKeeper._write:deleted: self._owned =",),
    "lease/rhythm": ("RenewalRhythm.looked:record != self._record becomes",),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1) as made:
        yield made


def judge(pool: Pool, job: Job) -> Verdict:
    [(_, verdict)] = pool.judge([("it", job)])
    return verdict


def guards(source: str) -> Job:
    return Job(GUARDS, source, QUICK, WALL_SECONDS, WALL_SECONDS)


def source_of_guards() -> str:
    return (ROOT / "ha_agent/fsm/guards.py").read_text()


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in SAMPLE.items() for text in texts]
)
def test_each_of_the_sample_is_caught(pool: Pool, name: str, text: str) -> None:
    [target] = [target for target in TARGETS if target.path.endswith(f"/{name}.py")]
    found = mutants(target.path, (ROOT / target.path).read_text())
    chosen = [mutant for mutant in found if text in mutant.key]
    assert chosen, f"no mutant's key has {text!r} in it any more"
    tests = (tuple(arguments_of(target.groups[0])),)
    job = Job(target.module, chosen[0].source(), tests, WALL_SECONDS, WALL_SECONDS)
    verdict = judge(pool, job)
    assert verdict.fate == CAUGHT, chosen[0].key
    assert verdict.by.startswith(tests[0][0])


def test_what_changes_nothing_survives(pool: Pool) -> None:
    """Or the tests failed for some other reason, and what is caught would prove nothing."""
    verdict = judge(pool, guards(source_of_guards()))
    assert verdict.fate == SURVIVED
    assert len(verdict.cpu_seconds) == 1


def test_one_mutant_leaves_nothing_to_the_next(pool: Pool) -> None:
    assert judge(pool, guards("1 / 0\n")).fate == CAUGHT
    assert judge(pool, guards(source_of_guards())).fate == SURVIVED


@pytest.mark.parametrize(("cpu_seconds", "wall_seconds"), [(1.0, 55.0), (55.0, 1.0)])
def test_one_that_hangs_is_caught(pool: Pool, cpu_seconds: float, wall_seconds: float) -> None:
    job = Job(GUARDS, "while True:\n    pass\n", QUICK, cpu_seconds, wall_seconds)
    assert judge(pool, job) == Verdict(CAUGHT, "the time limit")


def test_what_no_test_sees_is_not_judged(pool: Pool) -> None:
    job = dataclasses.replace(guards(""), module="ha_agent.fsm.not_there")
    assert judge(pool, job) == Verdict(BROKEN, "no test imports ha_agent.fsm.not_there", ANY_TIMES)


def test_tests_that_are_not_there_judge_nothing(pool: Pool) -> None:
    verdict = judge(pool, dataclasses.replace(guards(""), groups=(("tests/not_there.py",),)))
    assert verdict.fate == BROKEN
    assert "tests/not_there.py" in verdict.by


def test_a_worker_that_is_gone_is_told() -> None:
    with Pool(1) as pool:
        pool._workers[0].kill()
        with pytest.raises((WorkerFailed, BrokenPipeError)):
            judge(pool, guards(""))


class _AnyTimes(tuple[float, ...]):
    """Equal to any tuple of times."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple)

    __hash__ = tuple.__hash__


ANY_TIMES = _AnyTimes()

# SPDX-License-Identifier: Apache-2.0
"""What a scenario expects: facts of the run, whatever the words of its log. Pure.

    expect engine up on h2 within 60 after 100    healthy there at some time from 100 to 160
    expect engine up within 60 after 100          ... wherever
    expect engine up on h1 throughout             never without a healthy engine, always there
    expect engine up on h1 from 50 to 90          in all that time
    expect engine up on h1 at 90                  (or: at end)
    expect engine down from 50 to 90              in none of that time; also: engine down at 90
    expect never started on h2                    no QEMU there; also: never started after 100
    expect started on h2 5 times                  QEMUs there; also: once; at least 2 times
    expect tried on h2 5 times                    ... and starts that were refused or ended at once
    expect never stopped                          not by VDSM, when asked, guard or sanlock
    expect stopped by guard                       (shutdown, destroy, guard, sanlock, power, guest)
    expect state h1 LocalMaintenance at 200       also: at end; never; from 50 to 90
    expect score h1 2400 at 200                   also: at least 2400, at most 2400
    expect outage at most 45                      the longest time without a healthy engine
    expect log "text"                             a line of the log has it; also: no log "text"

Times are true seconds since the log began; a VM that ran by then was not started. That no
checker found a violation is always expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from re import Match
from typing import Optional, TypeVar

from ha_agent.errors import BadInput
from ha_agent.sim import events
from ha_agent.sim.spec import Result

# An agent's first decision in the log may come one tick after its beginning.
_BEGIN_SECONDS = 1.0
Times = list[tuple[float, float]]
_Value = TypeVar("_Value")
_STOPPED_BY_US = ("shutdown", "destroy", "guard", "sanlock")


@dataclass
class History:
    """What a run's events amount to; `saw` is the subscriber to give to the world."""

    running: list[tuple[float, int]] = field(default_factory=list)
    """Since when the VM has been on which host; 0: on none."""
    health: list[tuple[float, bool]] = field(default_factory=list)
    """Since when the engine's page has been good or not."""
    starts: list[tuple[float, int]] = field(default_factory=list)
    tries: list[tuple[float, int]] = field(default_factory=list)
    """Starts, and those that were refused or ended at once."""
    ends: list[tuple[float, int, str]] = field(default_factory=list)
    states: dict[int, list[tuple[float, str]]] = field(default_factory=dict)
    scores: dict[int, list[tuple[float, int]]] = field(default_factory=dict)

    def saw(self, event: events.Event) -> None:
        """Keep what expectations ask for."""
        at = event.at_seconds
        if isinstance(event, events.VmStarted):
            self.running.append((at, event.host_id))
            if event.cause != "migration":
                self.starts.append((at, event.host_id))
                self.tries.append((at, event.host_id))
        elif isinstance(event, events.StartRefused):
            self.tries.append((at, event.host_id))
        elif isinstance(event, events.VmEnded):
            if self.running and self.running[-1][1] == event.host_id:
                self.running.append((at, 0))
            self.ends.append((at, event.host_id, event.cause))
        elif isinstance(event, events.HealthChanged):
            self.health.append((at, event.good))
        elif isinstance(event, events.Decided):
            _note(self.states.setdefault(event.host_id, []), at, event.state)
            _note(self.scores.setdefault(event.host_id, []), at, event.score)


@dataclass(frozen=True)
class Expectation:
    """One line; `broken` says what is wrong with a run, "" when it holds."""

    text: str
    where: str
    judge: Callable[[Run], str]

    def broken(self, result: Result, history: History) -> str:
        """Return a sentence with the place of the expectation, or ""."""
        fault = self.judge(Run(result, history))
        return f"{self.where}: {self.text}: {fault}" if fault else ""


@dataclass(frozen=True)
class Run:
    """A run to be judged."""

    result: Result
    history: History

    @property
    def end(self) -> float:
        """When it ended."""
        return self.result.spec.seconds

    def up(self, host_id: Optional[int]) -> Times:
        """Return the times with a healthy engine on that host, or on any (None)."""
        here = _times(
            self.history.running, lambda on: bool(on) and host_id in (None, on), self.end
        )
        good = _times(self.history.health, bool, self.end)
        both = [(max(a, c), min(b, d)) for a, b in here for c, d in good]
        return _joined([(since, until) for since, until in both if since < until])


def parse(line: str, where: str) -> Expectation:
    """Return the expectation of a line. Raises BadInput when no form fits."""
    text = line[len("expect ") :]
    for form, make in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return Expectation(text, where, make(match))
    raise BadInput(f"{line!r} is no expectation; the forms are in sim/expect.py", where=where)


_WHEN = (
    r"(?: within (?P<within>[\d.]+) after (?P<after>[\d.]+)| at (?P<at>[\d.]+|end)"
    r"| from (?P<since>[\d.]+) to (?P<until>[\d.]+|end)| (?P<word>throughout|never))"
)
_ON = r"(?: on h(?P<host>\d+))?"


def _note(series: list[tuple[float, _Value]], at: float, value: _Value) -> None:
    if not series or series[-1][1] != value:
        series.append((at, value))


def _times(
    series: list[tuple[float, _Value]], fits: Callable[[_Value], bool], end: float
) -> Times:
    """Return when a series had a value that fits."""
    edges = [at for at, _ in series[1:]] + [end]
    return _joined([(at, until) for (at, value), until in zip(series, edges) if fits(value)])


def _joined(times: Times) -> Times:
    joined: Times = []
    for since, until in times:
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(until, joined[-1][1]))
        else:
            joined.append((since, until))
    return joined


def _when(match: Match[str], times: Times, end: float) -> str:
    """Return "" when `times` are as the line's time says; else what they were."""
    if match["within"]:
        since = float(match["after"])
        until = since + float(match["within"])
        good = any(a <= until and b > since for a, b in times)
    elif match["word"] == "never":
        good = not times
    else:
        since, until = _span(match, end)
        good = any(a <= since and until <= b and (since < b or b == end) for a, b in times)
    seen = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in times)
    return "" if good else f"it was so from {seen}" if seen else "it was never so"


def _span(match: Match[str], end: float) -> tuple[float, float]:
    if match["word"]:
        return _BEGIN_SECONDS, end
    if match["at"]:
        at = end if match["at"] == "end" else float(match["at"])
        return at, at
    return float(match["since"]), end if match["until"] == "end" else float(match["until"])


def _host(match: Match[str]) -> Optional[int]:
    return int(match["host"]) if match["host"] else None


def _engine(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        up = run.up(_host(match))
        return _when(match, up if match["way"] == "up" else _gaps(up, run.end), run.end)

    return judge


def _gaps(times: Times, end: float) -> Times:
    edges = [0.0, *(edge for span in times for edge in span), end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2]) if a < b]


def _started(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        after = float(match["after"] or 0)
        found = [
            (at, host)
            for at, host in (run.history.tries if match["tried"] else run.history.starts)
            if at > after and _host(match) in (None, host)
        ]
        count = 0 if match["never"] else 1 if match["once"] else int(match["count"])
        good = len(found) >= count if match["least"] else len(found) == count
        seen = ", ".join(f"on h{host} at {at:.1f}" for at, host in found) or "never"
        return "" if good else f"started {seen}"

    return judge


def _stopped(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        causes = _STOPPED_BY_US if match["never"] else (match["cause"],)
        found = [
            (at, host, cause)
            for at, host, cause in run.history.ends
            if cause in causes and _host(match) in (None, host)
        ]
        seen = ", ".join(f"{cause} on h{host} at {at:.1f}" for at, host, cause in found) or "never"
        return "" if bool(found) is not bool(match["never"]) else f"stopped: {seen}"

    return judge


def _state(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        series = run.history.states.get(int(match["host"]), [])
        times = _times(series, lambda state: state == match["state"], run.end)
        fault = _when(match, times, run.end)
        seen = ", ".join(f"{state} from {at:.1f}" for at, state in series[:20])
        return f"{fault}; it was {seen}" if fault else ""

    return judge


def _score(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        wanted, way = int(match["points"]), match["way"]

        def fits(score: int) -> bool:
            return (
                score >= wanted if way == "least" else score <= wanted if way else score == wanted
            )

        series = run.history.scores.get(int(match["host"]), [])
        fault = _when(match, _times(series, fits, run.end), run.end)
        seen = ", ".join(f"{score} from {at:.1f}" for at, score in series[:20])
        return f"{fault}; it was {seen}" if fault else ""

    return judge


def _outage(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        limit = float(match["limit"] or 0)
        longest = max((o.ended_seconds - o.began_seconds for o in run.result.outages), default=0.0)
        return "" if longest <= limit else f"{longest:.1f} s"

    return judge


def _log(match: Match[str]) -> Callable[[Run], str]:
    def judge(run: Run) -> str:
        found = [line for line in run.result.log if match["text"] in line]
        good = not found if match["no"] else bool(found)
        return "" if good else found[0] if found else "no line has it"

    return judge


_FORMS = tuple(
    (re.compile(form), make)
    for form, make in (
        (rf"engine (?P<way>up|down){_ON}{_WHEN}", _engine),
        (
            rf"(?P<never>never )?(?:started|(?P<tried>tried)){_ON}(?(never)| (?:(?P<once>once)"
            r"|(?P<least>at least )?(?P<count>\d+) times))(?: after (?P<after>[\d.]+))?",
            _started,
        ),
        (rf"(?:(?P<never>never )stopped|stopped by (?P<cause>[a-z]+)){_ON}", _stopped),
        (rf"state h(?P<host>\d+) (?P<state>\w+){_WHEN}", _state),
        (rf"score h(?P<host>\d+) (?:at (?P<way>least|most) )?(?P<points>\d+){_WHEN}", _score),
        (r"(?:outage at most (?P<limit>[\d.]+)|no outage)", _outage),
        (r"(?P<no>no )?log \"(?P<text>.+)\"", _log),
    )
)

# SPDX-License-Identifier: Apache-2.0
"""`ha-agent simulate`: the agent's and the broker's own code in a simulated cluster.

    ha-agent simulate --list                    the scenarios that come with this program
    ha-agent simulate crash-host                one of them, held against its expected log
    ha-agent simulate FOLDER                    one of your own
    ha-agent simulate --seed 7 --hosts 5        an hour of bad luck that seed 7 draws
    ha-agent simulate --seed 7 --faults FILE    the faults in FILE ("at 60 h1 power-off", a line
                                                each) in place of drawn ones
    ha-agent simulate --seeds 1..1000           many, on all cores
    ha-agent simulate --seed 7 --lease sanlock  with leases by simulated sanlock daemons
    ha-agent simulate --seed 7 --hostile-vdsm   with VDSMs that misbehave, too

It needs neither broker, nor configuration, nor root. A run that breaks a rule says which, and
when, with the last lines of its log, and a smaller run that breaks it, too, in the format of a
scenario's `commands`. Exit codes: 0 all rules held; 1 one was broken, or a log is not the
expected one; 2 the command line or a file is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs, fail
from ha_agent.errors import BadInput

if TYPE_CHECKING:
    from ha_agent.sim.campaign import Summary
    from ha_agent.sim.faults import Fault
    from ha_agent.sim.spec import Result, Spec

SHRINK_RUNS = 120


def add(verbs: Verbs) -> None:
    """Add `simulate`."""
    parser = verbs.add(
        "simulate", "run this program's own code in a simulated cluster with faults", _simulate
    )
    parser.add_argument("scenario", nargs="?", help="a name from --list, or a folder")
    parser.add_argument("--list", action="store_true", help="the scenarios that come with this")
    parser.add_argument("--seed", type=_whole, metavar="N", help="run what this seed draws")
    parser.add_argument("--seeds", type=_span, metavar="A..B", help="run all of these seeds")
    parser.add_argument("--hosts", type=_whole, default=0, metavar="H", help="default: drawn")
    parser.add_argument("--hours", type=_hours, default=1.0, metavar="T", help="default: 1")
    parser.add_argument("--old", type=_whole, metavar="N", help="so many of the predecessor's")
    parser.add_argument(
        "--lease", choices=("lockfile", "sanlock"), default="lockfile", help="default: lockfile"
    )
    parser.add_argument(
        "--hostile-vdsm", action="store_true", help="draw a VDSM that misbehaves, too"
    )
    parser.add_argument("--quiet", action="store_true", help="draw no faults")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="these in place of drawn ones")
    parser.add_argument("--jobs", type=_whole, metavar="N", help="processes; default: all cores")
    parser.add_argument("--no-shrink", action="store_true", help="show a failing run as it is")
    parser.add_argument("--log", action="store_true", help="print the whole log")
    parser.add_argument("--json", action="store_true", help="the outcome as one JSON object")


def _simulate(command: Command) -> int:
    arguments = command.arguments
    asked = [
        word
        for word, given in (
            ("a scenario", arguments.scenario),
            ("--seed", arguments.seed is not None),
            ("--seeds", arguments.seeds),
            ("--list", arguments.list),
        )
        if given
    ]
    if len(asked) != 1:
        what = " and ".join(asked) if asked else "nothing"
        fail(arguments, "usage", f"one of a scenario, --seed, --seeds, --list; got {what}")
        return USAGE
    try:
        if arguments.list:
            return _list(arguments)
        if arguments.seeds:
            return _seeds(arguments)
        if arguments.scenario:
            return _scenario(arguments)
        return _one(arguments, _drawn(arguments), f"seed {arguments.seed}")
    except BadInput as error:
        fail(arguments, "input", str(error))
        return USAGE


def _list(arguments: argparse.Namespace) -> int:
    from ha_agent.sim import scenario

    found = [scenario.load(name) for name in scenario.names()]
    if arguments.json:
        print(json.dumps({one.name: one.readme for one in found}))
        return DONE
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        print(f"{one.name:{width}}  {one.readme}")
    return DONE


def _scenario(arguments: argparse.Namespace) -> int:
    from ha_agent.sim import scenario
    from ha_agent.sim.play import play

    path = Path(arguments.scenario)
    if path.is_file():  # what a failing run was shrunk to, say
        spec, _ = scenario.parse(_text(path), str(path))
        return _one(arguments, spec, path.name)
    one = scenario.load(arguments.scenario)
    played = play(one)
    code = _tell(arguments, played.result, one.name)
    for sentence in played.broken:
        print(sentence, file=sys.stderr)
    difference = played.difference if one.expected else ""
    sys.stderr.write(difference)
    return FAILED if played.broken or difference else code


def _drawn(arguments: argparse.Namespace) -> Spec:
    from ha_agent.sim import faults
    from ha_agent.sim.seeds import spec_of

    spec = spec_of(
        arguments.seed,
        hosts=arguments.hosts,
        hours=arguments.hours,
        old=arguments.old,
        quiet=arguments.quiet,
        lease_backend=arguments.lease,
        hostile_vdsm=arguments.hostile_vdsm,
    )
    if arguments.faults is None:
        return spec
    where = str(arguments.faults)
    given = [
        faults.parse(line, f"{where}:{number}")
        for number, line in enumerate(_text(arguments.faults).splitlines(), start=1)
        if line.startswith("at ")
    ]
    given.sort(key=lambda fault: fault.at_seconds)
    late = [f for f in given if max(f.host_id, _target(f)) > spec.hosts]
    if late:
        raise BadInput(f"{late[0].text()!r}: there are {spec.hosts} hosts only", where=where)
    # Whether it ends calmly is for those who write the faults.
    return dataclasses.replace(spec, faults=tuple(given), calm_seconds=0.0)


def _target(fault: Fault) -> int:
    from ha_agent.sim import faults

    return fault.target if faults.KINDS[fault.kind].value == "host" else 0


def _one(arguments: argparse.Namespace, spec: Spec, name: str) -> int:
    from ha_agent.sim.runner import run

    return _tell(arguments, run(spec), name)


def _tell(arguments: argparse.Namespace, result: Result, name: str) -> int:
    """Print what came of one run; return the exit code."""
    from ha_agent.sim import campaign, failure

    code = FAILED if result.violations else DONE
    small = None
    if result.violations and not arguments.no_shrink:
        small = campaign.shrunk(result, SHRINK_RUNS)
    if arguments.json:
        print(json.dumps(_as_json(result, small)))
        return code
    if arguments.log and not result.violations:
        for line in result.log:
            print(line)
    print(_headline(result, name))
    if result.violations:
        sys.stdout.write(failure.report(result, whole_log=arguments.log))
    if small is not None:
        print(
            f"\nshrunk from {len(result.spec.faults)} faults; a file with these lines can be run:"
        )
        sys.stdout.write(failure.commands_text(small.spec))
        print()
        sys.stdout.write(failure.report(small))
    return code


def _headline(result: Result, name: str) -> str:
    spec = result.spec
    down = sum(outage.ended_seconds - outage.began_seconds for outage in result.outages)
    verdict = "a rule was broken" if result.violations else "all rules held"
    return (
        f"{name}: {verdict}; {spec.hosts} hosts, {spec.seconds:g} s, {len(spec.faults)} faults,"
        f" {len(result.outages)} outages of the engine, {down:.0f} s in all;"
        f" {result.steps} steps, {result.ticks} ticks, digest {result.digest[:16]}"
    )


def _as_json(result: Result, small: Optional[Result]) -> dict[str, object]:
    from ha_agent.sim import failure

    answer: dict[str, object] = {
        "violations": [dataclasses.asdict(found) for found in result.violations],
        "outages": [dataclasses.asdict(outage) for outage in result.outages],
        "log": list(result.log),
        "steps": result.steps,
        "ticks": result.ticks,
        "digest": result.digest,
        "commands": failure.commands_text(result.spec),
    }
    if small is not None:
        answer["shrunk"] = failure.commands_text(small.spec)
    return answer


def _seeds(arguments: argparse.Namespace) -> int:
    from ha_agent.sim import campaign
    from ha_agent.sim.runner import run

    if arguments.lease == "sanlock" and arguments.old:
        raise BadInput("old hosts are not simulated with sanlock")
    wanted = campaign.Wanted(
        arguments.hosts,
        arguments.hours,
        arguments.old,
        arguments.lease,
        arguments.hostile_vdsm,
    )
    seeds = arguments.seeds
    shows = sys.stderr.isatty()

    def progress(summary: Summary) -> None:
        if shows:
            sys.stderr.write(
                f"\r{summary.runs} of {len(seeds)} seeds, {len(summary.failed)} broke a rule "
            )

    summary = campaign.run_seeds(wanted, seeds, arguments.jobs or campaign.cores(), progress)
    if shows:
        sys.stderr.write("\n")
    if arguments.json:
        print(json.dumps({**dict(summary.rows()), "failed": [r.seed for r in summary.failed]}))
        return FAILED if summary.failed else DONE
    for what, figure in summary.rows():
        print(f"{what:32}{figure}")
    for number, failed in enumerate(summary.failed):
        first = failed.violations[0]
        print(f"seed {failed.seed}: {first.at_seconds:.2f} s {first.checker}: {first.what}")
        if number < campaign.SHRUNK_MAX and not arguments.no_shrink:
            _tell(arguments, run(wanted.spec(failed.seed)), f"seed {failed.seed}")
    return FAILED if summary.failed else DONE


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(str(error), where=str(path)) from None


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _hours(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours")
    return float(text)


def _span(text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not A..B, such as 1..1000")
    return range(int(match[1]), int(match[2]) + 1)

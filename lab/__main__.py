# SPDX-License-Identifier: Apache-2.0
"""`python -m lab`, as root: the command line.

    python -m lab run ...         the cases (run.py has the options); "run" may be left out
    python -m lab peers           the same faults under Pacemaker and under ours (peers/run.py)
    python -m lab up              three hosts, set up, left running: how to get in is printed
    python -m lab in host1 ...    a shell there, or this command
    python -m lab clean           end and remove every lab of this checkout, running or left over

Only one lab runs on a machine at a time: others wait for /tmp/ha-lab.lock, which hosts that were
left running hold, too. Ctrl-C and SIGTERM take down what was made. HA_LAB_NAME names a lab.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Callable

from lab import run as cases
from lab.clean import clean, only_lab
from lab.cluster import ROOT, Choices, LabCluster
from lab.host import LabHost
from lab.packages import ensure_machine
from lab.peers import run as peers
from lab.plan import HOSTS, NAME_VARIABLE, LabPlan, plan_for
from lab.ports import LabError
from lab.storage import KINDS

VERBS = ("run", "peers", "up", "in", "clean")
LEASES = ("lockfile", "sanlock")


class Progress:
    """Lines with the seconds since the start, and the name of a lab that is one of several."""

    def __init__(self, name: str = "") -> None:
        self._begun = time.monotonic()
        self._name = f"{name}: " if name else ""

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:7.1f} s  {self._name}{text}", flush=True)


def with_verb(words: Sequence[str]) -> list[str]:
    """Return the command line with its verb: "run" where it begins with none. Pure."""
    first = words[0] if words else ""
    named = first in VERBS or first in ("-h", "--help")
    return list(words) if named else ["run", *words]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    cases.add_arguments(verbs.add_parser("run", help="run cases"))
    peers.add_arguments(verbs.add_parser("peers", help="measure beside Pacemaker"))
    up = verbs.add_parser("up", help="three hosts, left running")
    up.add_argument("--storage", choices=KINDS, default="file")
    up.add_argument("--lease", choices=LEASES, default="lockfile")
    enter = verbs.add_parser("in", help="a shell in a host, or a command")
    enter.add_argument("host", choices=[f"host{number}" for number in range(1, HOSTS + 1)])
    enter.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("clean", help="remove every lab")
    return parser


def up(plan: LabPlan, choices: Choices, lock: int, say: Callable[[str], None]) -> None:
    """Leave three hosts running. Raises LabError; then nothing is left."""
    cluster = LabCluster(plan, choices, say)
    for host in cluster.hosts.values():
        host.held = (lock,)
    try:
        cluster.make()
        cluster.install()
        cluster.set_up()
        owner = cluster.wait_engine()
    except BaseException:
        say("taking it down")
        cluster.remove()
        raise
    say(f"the engine answers, says {owner}; its page: http://{plan.engine_address}/")
    print(
        "\nThree hosts are left running. Try:\n"
        f"  {sys.executable} -m lab in {owner} ha-agent status\n"
        f"  {sys.executable} -m lab in {owner}                 # a shell; journalctl -f, ...\n"
        f"  curl http://{plan.engine_address}/ovirt-engine/services/health\n"
        f"  {sys.executable} -m lab clean                      # the end of it"
    )


def _run(arguments: argparse.Namespace, plan: LabPlan, say: Callable[[str], None]) -> int:
    if arguments.verb == "run" and arguments.list:
        print(cases.list_text())
        return 0
    if arguments.verb == "in":
        number = int(arguments.host[len("host") :])
        LabHost(plan, number, ROOT).enter(*(arguments.command or ["bash", "-l"]))
    if arguments.verb == "clean":
        clean(plan.work.parent, say)
        return 0
    asked = cases.asked_of(arguments) if arguments.verb == "run" else None
    if asked is not None and asked.worker is not None:
        return cases.run_worker(plan, asked.worker, say)
    ensure_machine(say)
    with only_lab(say) as lock:
        clean(plan.work.parent, say)
        if asked is not None:
            return cases.run(plan, asked, lock, say)
        if arguments.verb == "peers":
            return peers.run(plan, arguments, say)
        up(plan, Choices(arguments.storage, arguments.lease), lock, say)
    return 0


def main(words: Sequence[str]) -> int:
    """Run the command line; the exit code is 0 when all is well, 2 when it is no lab's."""
    arguments = make_parser().parse_args(with_verb(words))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = Progress(os.environ.get(NAME_VARIABLE, ""))
    try:
        return _run(arguments, plan_for(os.environ, ROOT), say)
    except (LabError, ValueError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lab: interrupted; nothing is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""Writes docs/peers.md: what a fault costs here and there. Pure.

All of the document is made here, so that no figure in it is anybody's memory: measured ones are
measure.py's, the predecessor's are added up in predecessor.py, and what has not been measured says
so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.peers.figures import FAULTS, GUEST_CRASH, POWER_CUT, Cost, Summary, of, summary
from lab.peers.pacemaker_files import SETTINGS, Setting
from lab.peers.predecessor import SUMS, Sum
from lab.peers.side import OURS, PACEMAKER, UNFENCED

NOT_YET = "not measured yet"
SIDES = (OURS, PACEMAKER, UNFENCED)
PREDECESSOR = "ovirt-hosted-engine-ha 2.5.2"
_FAULT_TEXTS = {
    POWER_CUT: "the host with the engine VM loses its power",
    GUEST_CRASH: "the engine VM's QEMU is killed (SIGKILL)",
}

_INTRO = """\
<!-- Written by `python -m lab peers --write docs/peers.md`; not by hand. -->
# Beside the peers

How long an engine is away, by the same fault, under ha-agent, under Pacemaker and, by calculation
alone, under the predecessor.

{where}

Three hosts are booted as systemd-nspawn containers on one machine, each time from nothing; the
same guest (a small Linux with an engine's health page), on the same machine type, with its disk on
the same shared storage. An observer outside of the hosts asks for the page over their bridge 5
times a second and looks at the kernel's processes 20 times a second. Runs alternate, one side
after the other, and nothing else runs meanwhile. Each fault comes at a moment of its own, drawn
evenly, the same for all sides, so that it hits every point of the sides' intervals.

- **outage**: from the last good page before the fault to the first one after it. A page that does
  not answer is given up after 1 s, so a figure may be that much too long, on all sides.
- **until QEMU runs**: from the fault to the start of the QEMU that the page then comes from: what
  the software on the hosts takes. The rest, **boot**, is this guest's own and the same for all; a
  real engine's takes minutes.

Figures are seconds, median / worst. "Runs" is how often it was done; of one run there is one
figure.
"""

_CALCULATED = """\
## The predecessor, by calculation

{predecessor} needs VDSM and an engine, which this lab does not have, so
**nothing here was measured**. Its constants and the order of its steps are public; this is their
sum, term by term, from the fault to the start of QEMU. Where the sources leave room the smaller
figure was taken. To the sum comes the boot of the guest, as for the others.
"""

_FAIR = """\
## What is for whom

- For Pacemaker: its power switch ends a host in milliseconds and says so; a management controller
  takes seconds, and one that lost its power with the host does not answer at all: Pacemaker then
  tries on (stonith-timeout 60 s each time) and does not start the VM while that fails. The host
  that was switched off stays off, so its boot takes no processor from the failover.
- For ha-agent: its hosts need no power switch and no network between them; they agree over the
  storage. That is why it waits for the lease's end ([lease] lease_expiry_seconds, 15 by default)
  where Pacemaker waits for corosync's token and consensus, and is then certain by the switch.
- Without fencing Pacemaker starts the VM without knowing that the old one is gone. In this lab
  QEMU's own lock on its disk would still keep a second one out; Pacemaker's own documentation
  does not support clusters without fencing that share data.
- Not compared: a kernel panic, as this guest boots again by itself, which all leave to it; a hung
  engine, which the VirtualDomain agent does not look for unless given monitor_scripts.
- All of a guest's processor is emulated here (no KVM), and three hosts share {cpus} CPUs.
"""


@dataclass(frozen=True)
class Outcome:
    """All that a run has found. `where`: a sentence with date and machine; `missed`: what was
    tried and did not come about, a sentence each."""

    where: str
    cpus: int
    costs: Sequence[Cost]
    our_settings: Sequence[Setting]
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missed: Sequence[str] = ()


def document(outcome: Outcome) -> str:
    """Return the document."""
    missed = [f"- {sentence}" for sentence in outcome.missed]
    blocks = [
        [_INTRO.format(where=outcome.where).rstrip()],
        comparison(outcome.costs),
        missed,
        _single_runs(outcome.costs),
        ["## Settings"],
        *_settings(outcome),
        [_CALCULATED.format(predecessor=PREDECESSOR).rstrip()],
        *(block for one in SUMS for block in _sum(one)),
        [_FAIR.format(cpus=outcome.cpus).rstrip()],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def comparison(costs: Sequence[Cost]) -> list[str]:
    """Return the lines of the table of all sides and faults."""
    boots = summary([cost.boot_seconds for cost in costs])
    head = ("fault", "under", "runs", "outage", "until QEMU runs", "boot", "runs then on", "VMs")
    lines = [_line(head), "|---" * len(head) + "|"]
    for fault in FAULTS:
        for side in SIDES:
            if side == UNFENCED and fault != POWER_CUT:
                continue
            lines.append(_line((_FAULT_TEXTS[fault], side, *_measured(of(costs, side, fault)))))
        for one in SUMS:
            if one.fault == fault:
                lines.append(_line((_FAULT_TEXTS[fault], PREDECESSOR, *_added(one, boots))))
    return lines


def _measured(costs: Sequence[Cost]) -> tuple[str, ...]:
    if not costs:
        return ("", NOT_YET, "", "", "", "")
    where = {True: "another host", False: "the same host"}
    return (
        str(len(costs)),
        f"**{summary([cost.page_seconds for cost in costs])}**",
        str(summary([cost.qemu_seconds for cost in costs])),
        str(summary([cost.boot_seconds for cost in costs])),
        " or ".join(dict.fromkeys(where[cost.moved] for cost in costs)),
        f"{max(cost.most_vms for cost in costs)} at most",
    )


def _added(one: Sum, boots: object) -> tuple[str, ...]:
    least, most = one.least_seconds, one.most_seconds
    outage = f"{least:g} to {most:g}, and the boot"
    if isinstance(boots, Summary):
        outage = f"{least + boots.median:.0f} to {most + boots.median:.0f}"
    boot = f"{boots.median:.1f}, as above" if isinstance(boots, Summary) else "as above"
    return ("calculated", outage, f"{least:g} to {most:g}", boot, "another host", "")


def _single_runs(costs: Sequence[Cost]) -> list[str]:
    """Return every outage that was measured, in the order of the runs."""
    lines = []
    for fault in FAULTS:
        for side in SIDES:
            found = of(costs, side, fault)
            if found:
                values = ", ".join(f"{cost.page_seconds:.1f}" for cost in found)
                lines.append(f"- {fault}, {side}, all outages in order: {values}")
    return ["## Each run", "", *lines] if lines else []


def _settings(outcome: Outcome) -> list[list[str]]:
    packages = []
    for side, versions in outcome.versions.items():
        text = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        packages.append(f"- {side}: {text}")
    head = ("of", "setting", "value", "source")
    lines = [_line(head), "|---" * len(head) + "|"]
    ours = [(OURS, one) for one in outcome.our_settings]
    for side, one in [*ours, *((PACEMAKER, one) for one in SETTINGS)]:
        lines.append(_line((side, one.name, one.value, one.source)))
    return [packages, lines]


def _sum(one: Sum) -> list[list[str]]:
    lines = [_line(("term", "seconds", "source")), "|---|---|---|"]
    for term in one.terms:
        seconds = _range(term.least_seconds, term.most_seconds)
        lines.append(_line((term.what, seconds, term.source)))
    total = _range(one.least_seconds, one.most_seconds)
    lines.append(_line(("**until QEMU runs**", f"**{total}**", "the sum")))
    title = f"### When {_FAULT_TEXTS[one.fault]}"
    return [[title], lines, [f"Its makers' own figures: {one.published}."]]


def _range(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

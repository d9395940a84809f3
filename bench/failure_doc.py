# SPDX-License-Identifier: Apache-2.0
"""Writes docs/failures.md: each failure with what one sees, what follows, and what it took. Pure.

All of the document is made here, so that no figure in it is anybody's memory: those of real
processes are failures.py's, those of the simulator are ha_agent/sim/failure_table.py's, and what
has not been measured says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Optional

from bench.failure_list import FAILURES, Failure
from bench.failure_watch import QEMU_LOOK_SECONDS
from bench.failures import Measured, Outcome
from ha_agent.sim.failure_table import Figure

NOT_YET = "not measured yet"
NEVER = "not at all"

_INTRO = """\
<!-- Written by `python -m bench failures --write docs/failures.md`; not by hand. -->
# What a failure costs

What happens, how long it takes, and what is left to do. All times are seconds with the default
settings, counted from the fault unless the row says otherwise. In the words of `ha-agent status`,
`…` stands for anything; they are on at least one host while it lasts.

## Measured on real processes

{where}

Three hosts on one machine: the real agent, broker and embedded VDSM each, real QEMU (emulated, no
KVM), a storage that can be made to hang for each host apart, lock file as lease. "Promised"
follows from the configuration, not from a measurement. "QEMU runs" is the kernel's word, "page is
good" an answer of the engine's health page at that host's port. It includes the boot of this
guest, a small Linux; a real engine takes minutes longer. Figures are median / worst.
"""

_COUNTED = """\
Each host's QEMU processes were counted {looks} times a second: at the worst moment of all these
failures together **{most}** of the engine VM ran. One that was sent SIGKILL and still waits in
the kernel for storage does not count: it runs no guest code, and it still has its VM lease.
"""

_OUTSIDE = """\
### What adds to it elsewhere

- The lock of a host that lost its power: here the kernel, or the test's file server, frees it at
  once. An NFSv4 server keeps it for its own lease time, 90 s by default on Linux; until then each
  start is refused and tried again. With `[lease] backend = sanlock` sanlock's times count.
  [ARCHITECTURE.md](../ARCHITECTURE.md#the-leases-timeline) has both.
- The boot of the hosts, where they were off, and of the engine's guest.

## Simulated

What this machine can't do to real hosts, from the simulator (`ha-agent simulate NAME` shows each
step by step): the real state machine and lease in simulated time, an engine that boots in 20 s.
"The engine is down" is the time without a good page.
"""

_HEAD = (
    "what fails",
    "what you see",
    "what the cluster does",
    "QEMU runs after: promised",
    "measured",
    "page is good after",
    "runs then on",
    "what you do",
)


def document(where: str, outcome: Outcome, simulated: Sequence[Figure]) -> str:
    """Return the document. `where` is a sentence with date, machine, versions and runs."""
    lines = [_INTRO.format(where=where), _line(_HEAD), "|---" * len(_HEAD) + "|"]
    lines += [_line(_cells(failure, outcome)) for failure in FAILURES]
    if outcome.measured:
        most = max(one.most_qemus for one in outcome.measured)
        looks = round(1 / QEMU_LOOK_SECONDS)
        lines += ["", _COUNTED.format(looks=looks, most=f"{most} QEMU{'s' if most > 1 else ''}")]
    lines += [f"- {name} was not measured: {why}" for name, why in outcome.missed]
    lines += ["", _OUTSIDE]
    lines += [_line(("what fails", "what happens", "QEMU runs after", "engine is down", "NAME"))]
    lines += ["|---" * 5 + "|", *(_line(_simulated(figure)) for figure in simulated)]
    return "\n".join(lines) + "\n"


def figures(values: Sequence[float]) -> str:
    """Return median / worst; one figure of one run."""
    texts = [f"{statistics.median(values):.1f}", f"{max(values):.1f}"]
    return " / ".join(texts[: len(values)] if len(values) < 2 else texts)


def promise_text(failure: Failure) -> str:
    """Return the seconds that are promised."""
    if not failure.restarts:
        return "it runs on"
    if failure.promise is None:
        return ""
    return f"{failure.promise[0]:g} to {failure.promise[1]:g}"


def _cells(failure: Failure, outcome: Outcome) -> tuple[str, ...]:
    found = outcome.of(failure.name)
    qemu, page, where = _measured(failure, found)
    see = f"`{failure.see}`" if failure.see else "nothing, but for a moment"
    if found and failure.see and not any(one.was_seen for one in found):
        see += " (**not seen**)"
    do = failure.do
    if failure.guide:
        do += f": [{failure.guide}](guides/{failure.guide}.md)"
    return (failure.title, see, failure.does, promise_text(failure), qemu, page, where, do)


def _measured(failure: Failure, found: Sequence[Measured]) -> tuple[str, str, str]:
    if not found:
        return NOT_YET, "", ""
    where = {True: "another host", False: "the same host"}
    words = " or ".join(dict.fromkeys(where[one.moved] for one in found))
    qemu = [one.qemu_seconds for one in found if one.qemu_seconds is not None]
    page = [one.page_seconds for one in found if one.page_seconds is not None]
    silence = [one.silence_seconds for one in found if one.silence_seconds is not None]
    if failure.restarts:
        text = figures(qemu)
        late: Optional[float] = failure.promise[1] if failure.promise else None
        if late is not None and max(qemu) > late:
            text += " (**later than promised**)"
        return text, figures(page), words
    if qemu:
        return f"**it did not run on**: {figures(qemu)}", figures(page), words
    return "it ran on", f"never longer than {max(silence):.1f} without", words


def _simulated(figure: Figure) -> tuple[str, ...]:
    start = NEVER if figure.start_seconds is None else f"{figure.start_seconds:.1f}"
    return (
        figure.failure,
        figure.follows,
        start,
        f"{figure.outage_seconds:.1f}",
        f"`{figure.name}`",
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

# SPDX-License-Identifier: Apache-2.0
"""What the predecessor's constants add up to. Pure arithmetic; nothing here is a measurement.

ovirt-hosted-engine-ha 2.5.2 needs VDSM and an engine, which this lab does not have. Its constants
and its order of steps are public, so the time from a fault to the start of QEMU can be added up,
term by term. Where the sources leave room the smaller figure is taken, which favours it:

- the scan of the others' status blocks at another host's broker counts as instant;
- a start that sanlock refuses is tried again in the next loop, where really several loops go by;
- VDSM and libvirt start QEMU in no time.

The guest's boot is left out; it is the same for all, and is added by whoever prints the sum.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One addend: between `least_seconds` and `most_seconds`, with its public source."""

    what: str
    least_seconds: float
    most_seconds: float
    source: str


@dataclass(frozen=True)
class Sum:
    """The time from a fault to the start of QEMU, and what its makers publish themselves."""

    fault: str
    terms: tuple[Term, ...]
    published: str

    @property
    def least_seconds(self) -> float:
        """When all goes well."""
        return sum(term.least_seconds for term in self.terms)

    @property
    def most_seconds(self) -> float:
        """When each poller has just looked."""
        return sum(term.most_seconds for term in self.terms)


# Seconds. agent/constants.py, env/constants.py and broker/constants.py of 2.5.2.
LOOP_DELAY = 10.0
STORAGE_DELAY = 10.0
SUBMONITOR_INTERVAL = 10.0
HOST_ALIVE_TIMEOUT = 60.0
# sanlock's defaults, which it uses unchanged: src/timeouts.h, host_dead and id_renewal.
SANLOCK_IO_TIMEOUT = 10.0
WATCHDOG_FIRE_TIMEOUT = 60.0
RENEWAL_INTERVAL = 2 * SANLOCK_IO_TIMEOUT
HOST_DEAD = 8 * SANLOCK_IO_TIMEOUT + WATCHDOG_FIRE_TIMEOUT

POWER_CUT = Sum(
    fault="power-cut",
    terms=(
        Term(
            "sanlock holds a host for dead this long after its last renewal: 8 I/O timeouts of "
            "10 s, and the watchdog's 60 s",
            HOST_DEAD,
            HOST_DEAD,
            "sanlock src/timeouts.h; host id added with the default (status_broker.py)",
        ),
        Term(
            "the last renewal was before the cut, by up to one interval of 2 I/O timeouts",
            -RENEWAL_INTERVAL,
            0.0,
            "sanlock src/timeouts.h",
        ),
        Term(
            "the heir's sanlock saw that renewal later, by up to one interval",
            0.0,
            RENEWAL_INTERVAL,
            "sanlock src/paxos_lease.c",
        ),
        Term(
            "the agent tries again: LOOP_DELAY",
            0.0,
            LOOP_DELAY,
            "agent/constants.py; states.py EngineDown, EngineStart",
        ),
    ),
    published="how-to FAQ: EngineStarting T+2 min, ping T+3, EngineUp T+5",
)

GUEST_CRASH = Sum(
    fault="guest-crash",
    terms=(
        Term(
            "the broker's engine-health monitor asks VDSM",
            0.0,
            SUBMONITOR_INTERVAL,
            "broker/constants.py, submonitors/engine_health.py",
        ),
        Term(
            "the owner's agent reads it (EngineUnexpectedlyDown: its own score is 0 for 560 s)",
            0.0,
            LOOP_DELAY,
            "agent/constants.py, states.py",
        ),
        Term(
            "its broker writes the status block",
            0.0,
            STORAGE_DELAY,
            "env/constants.py",
        ),
        Term(
            "the best other agent reads it and starts the VM (EngineDown, EngineStart)",
            0.0,
            LOOP_DELAY,
            "agent/constants.py, states.py",
        ),
    ),
    published="how-to FAQ: VM killed -9: restart in seconds, ping T+1 min",
)

SUMS = (POWER_CUT, GUEST_CRASH)

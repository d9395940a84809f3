# SPDX-License-Identifier: Apache-2.0
"""What can be done to a simulated cluster: each kind of fault, its text and its bounds. Pure.

A fault is one line, the same in a scenario's commands, in what a seed draws and in what the
shrinker prints:

    at 60 h1 power-off                 host 1 loses its power
    at 60 h1 storage-hang for 30       its storage calls hang for 30 s
    at 60 all storage-eio for 5        every host's fail
    at 75.5 h2 kill broker             SIGKILL; systemd starts it again
    at 80 h2 kill broker for 40        ... and it can't be started for 40 s
    at 90 h1 migrate-to h3 for 8       the engine moves its VM, which takes 8 s
    at 99 cluster global-maintenance on

`at` is in true seconds since the simulation began (hosts have clocks of their own).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from ha_agent.errors import BadInput

ALL_HOSTS = 0
PROCESSES = ("agent", "broker", "vdsm", "guard", "sanlock", "holder")

_LINE = re.compile(
    r"at (?P<at>[0-9.]+) (?P<who>h[0-9]+|all|cluster) (?P<kind>[a-z-]+)"
    r"(?: (?P<value>(?!for )\S+))?(?: for (?P<duration>[0-9.]+))?"
)


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    `who`: "host" (h1 or all), "cluster". `value`: "" for none, "number", "host", or the words
    that may stand there, separated by "|". `lasts`: whether `for SECONDS` may follow
    ("" no, "may", "must").
    """

    who: str
    value: str
    lasts: str
    meaning: str


KINDS: dict[str, Kind] = {
    # Hosts and processes
    "power-off": Kind("host", "", "may", "power is lost; with `for`, the host boots after it"),
    "power-on": Kind("host", "", "", "a host without power boots"),
    "suspend": Kind("host", "", "must", "the whole host sleeps; its boot-time clock goes on"),
    "kill": Kind("host", "|".join(PROCESSES), "may", "SIGKILL; started again after `for`, or 1 s"),
    "kill-at": Kind("host", "number", "", "SIGKILL to agent and broker at their n-th next step"),
    "hang": Kind("host", "|".join(PROCESSES), "must", "SIGSTOP, then SIGCONT"),
    "stop": Kind("host", "agent|broker|vdsm", "may", "systemctl stop; started again after `for`"),
    "start": Kind("host", "agent|broker|vdsm", "", "systemctl start"),
    "software": Kind(
        "host", "old|new", "", "the predecessor's agents stop and ours start, or back"
    ),
    "twin": Kind("host", "", "must", "a second agent and broker run with this host's id"),
    # Clocks
    "clock-rate": Kind("host", "number", "may", "its clock runs at this rate, such as 1.01"),
    "clock-jump": Kind("host", "number", "", "its wall clock jumps by so many seconds"),
    # Storage
    "storage-slow": Kind("host", "number", "must", "each call takes up to so many seconds"),
    "storage-hang": Kind("host", "", "must", "calls hang, as with a hard mount; they land after"),
    "storage-eio": Kind("host", "", "must", "calls fail with EIO"),
    "storage-flaky": Kind("host", "number", "must", "this share of calls fails with EIO"),
    "storage-stale": Kind("host", "", "must", "plain reads show what was there a little ago"),
    "storage-torn": Kind("host", "", "must", "status writes land in part, in units of 512 bytes"),
    "storage-lost-write": Kind("host", "", "must", "status writes are confirmed and don't land"),
    "storage-readonly": Kind("host", "", "must", "writes fail with EROFS, reads are well"),
    # Network and the host's condition
    "network-lost": Kind("host", "", "must", "no network test passes, the page can't be asked"),
    "cable-out": Kind(
        "host", "", "must", "... but a VM here reaches its own host, and no other host it"
    ),
    "network-flaky": Kind("host", "number", "must", "this share of network tests fails"),
    "bridge-down": Kind("host", "", "must", "the management bridge has no link"),
    "cpu-load": Kind("host", "number", "must", "this share of all CPUs is in use, 0..1"),
    "memory-free": Kind("host", "number", "must", "so many MiB are free"),
    # VDSM
    "vdsm-silent": Kind("host", "", "must", "VDSM does not answer; the VM runs on"),
    "vdsm-slow": Kind("host", "number", "must", "each answer takes so many seconds"),
    "vdsm-deaf": Kind("host", "", "must", "its events are lost"),
    "vdsm-late": Kind("host", "number", "must", "its events come so many seconds late"),
    "vdsm-unheard": Kind("host", "", "must", "it does what it is asked, its answers are lost"),
    "vdsm-overdue": Kind(
        "host", "number", "must", "... at once, and answers so many seconds later"
    ),
    "vdsm-mute": Kind("host", "", "must", "it takes requests, does none and answers none"),
    "vdsm-no-greeting": Kind("host", "", "must", "it accepts connections and says nothing at all"),
    "vdsm-flood": Kind("host", "number", "must", "so many events a second, of all sorts"),
    "vdsm-restarts": Kind("host", "number", "must", "it is killed every so many seconds"),
    "vdsm-stale": Kind("host", "", "must", "its answers show the VM as it was when this began"),
    # The engine VM, wherever it is
    "guest-crash": Kind("cluster", "", "", "QEMU ends"),
    "guest-poweroff": Kind("cluster", "", "", "the guest powers itself off"),
    "guest-hang": Kind("cluster", "", "may", "the engine's page does not answer; no stop works"),
    "engine-stop": Kind("cluster", "", "may", "the page is bad; the guest is well"),
    "guest-pause": Kind("cluster", "", "may", "VDSM pauses the VM for an I/O error"),
    "boot-seconds": Kind("cluster", "number", "", "from now on the engine needs so long to boot"),
    "start-refused": Kind("host", "", "must", "VM.create is refused"),
    "start-crashes": Kind("host", "", "must", "a started VM ends at once"),
    # What people and the engine do
    "migrate-to": Kind("host", "host", "must", "the engine moves the VM from here to there"),
    "migrate-fails": Kind("host", "host", "must", "as migrate-to, but it fails at the end"),
    "start-by-hand": Kind("host", "", "", "an administrator starts the VM here through VDSM"),
    "local-maintenance": Kind("host", "on|off", "may", "with `for`, it ends by itself"),
    "global-maintenance": Kind("cluster", "on|off", "may", "with `for`, it ends by itself"),
    "shutdown": Kind("cluster", "", "", "ha-agent cluster shutdown"),
    "resume": Kind("cluster", "", "", "ha-agent cluster resume"),
    "other-vms": Kind("host", "number", "", "so many other VMs run there"),
    "definition-change": Kind("cluster", "", "", "the engine pushes a new, sound definition"),
    "definition-bad": Kind("cluster", "", "", "... one that no host can start"),
    "definition-gone": Kind("host", "", "must", "the store can't be read there"),
}


@dataclass(frozen=True)
class Fault:
    """One fault. `host_id`: ALL_HOSTS for all; also for kinds that are the cluster's."""

    at_seconds: float
    kind: str
    host_id: int = ALL_HOSTS
    value: str = ""
    duration_seconds: Optional[float] = None

    @property
    def number(self) -> float:
        """The value of a kind whose value is a number."""
        return float(self.value)

    @property
    def target(self) -> int:
        """The value of a kind whose value is a host."""
        return int(self.value[1:])

    def text(self) -> str:
        """Return the fault's line; `parse` gives back the fault."""
        who = "cluster" if KINDS[self.kind].who == "cluster" else _host(self.host_id)
        value = f" {self.value}" if self.value else ""
        duration = f" for {self.duration_seconds:g}" if self.duration_seconds is not None else ""
        return f"at {self.at_seconds:g} {who} {self.kind}{value}{duration}"


def parse(line: str, where: str) -> Fault:
    """Return the fault that a line describes. Raises BadInput that says what is wrong with it."""
    match = _LINE.fullmatch(" ".join(line.split()))
    if match is None:
        raise BadInput(f"{line!r} is not 'at SECONDS WHO KIND [VALUE] [for SECONDS]'", where=where)
    name, who, value = match["kind"], match["who"], match["value"] or ""
    kind = KINDS.get(name)
    if kind is None:
        raise BadInput(f"unknown kind of fault {name!r}", where=where)
    if (who == "cluster") is not (kind.who == "cluster"):
        wanted = "cluster" if kind.who == "cluster" else "a host, such as h1, or all"
        raise BadInput(f"{name} is for {wanted}, not for {who}", where=where)
    fault = value_fault(kind.value, value)
    if fault:
        raise BadInput(f"{name}: {fault}", where=where)
    duration = None if match["duration"] is None else _seconds(match["duration"], where)
    if (duration is not None and not kind.lasts) or (duration is None and kind.lasts == "must"):
        needs = "needs" if kind.lasts else "takes no"
        raise BadInput(f"{name} {needs} 'for SECONDS'", where=where)
    host_id = ALL_HOSTS if who in ("all", "cluster") else int(who[1:])
    return Fault(_seconds(match["at"], where), name, host_id, value, duration)


def value_fault(wanted: str, value: str) -> str:
    """Return what is wrong with a value; "" when it is one that its kind wants."""
    if not wanted:
        return f"takes no value, got {value!r}" if value else ""
    if wanted == "number":
        sound = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value)
        return "" if sound else f"{value!r} is not a number"
    if wanted == "host":
        return "" if re.fullmatch(r"h[1-9][0-9]*", value) else f"{value!r} is not a host"
    words = wanted.split("|")
    return "" if value in words else f"{value!r} is none of {', '.join(words)}"


def _host(host_id: int) -> str:
    return "all" if host_id == ALL_HOSTS else f"h{host_id}"


def _seconds(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{text!r} is not a number of seconds", where=where) from None

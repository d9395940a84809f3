# SPDX-License-Identifier: Apache-2.0
"""The broker's picture of the cluster, as values, and its form on the wire.

The broker keeps one `Snapshot` in memory and hands it out as it is: no question about it ever
waits for storage. Instants are this host's boot-time clock, which broker, agent and command
line share; on the wire they are floats. Unknown keys from a newer broker are left out; a
missing or wrong one is a BadInput that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.push.entry import CertificateEntry, PushEntry
from ha_agent.broker.rpc.value_codec import from_wire as from_wire
from ha_agent.broker.rpc.value_codec import to_wire as to_wire
from ha_agent.instant import Instant


@dataclass(frozen=True)
class LeaseEntry:
    """The ownership lease. `state`: unknown, unreadable, free, held or expired. `host_id` is the
    holder's, or of a free lease the last holder's."""

    state: str = "unknown"
    ours: bool = False
    host_id: Optional[int] = None
    host_name: str = ""
    epoch: int = 0
    available_since: Optional[Instant] = None
    expires_at: Optional[Instant] = None
    fence_at: Optional[Instant] = None
    last_success: Optional[Instant] = None
    detail: str = ""


@dataclass(frozen=True)
class HostEntry:
    """One host's status block. `problem` says why a block can't be used; the rest is its
    last good content then. `changed_at` is when its content last changed, by our clock.
    `fresh`: it has changed within a lease's life, or that of an agent's report; while
    the lease is to be had, only a fresh block is believed that the engine VM runs there, and only
    the turn of a host with one is waited for.
    `memory_mib` and `cpu_threads` are what the host has; None where it does not tell.
    `predecessor`: its agent is the predecessor's, which knows nothing of our lease. `order_seen`
    is the number of the last order that it has taken notice of, `other_vms` how many VMs run
    there besides the engine VM, `proven` identity of the definition that the engine became
    healthy with there last, `refresh_asked` changes when all hosts are asked there to read the
    definition anew, `maintenance_note` who put it into local maintenance and why.
    `network_lost`: its network tests fail. `engine_page` is what it sees of the engine's page,
    good or bad, while the owner's network is lost; "" where it does not say. It had been bad there
    for `page_bad_seconds` when the block was written."""

    host_id: int
    host_name: str = ""
    alive: bool = False
    score: int = 0
    engine_status: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    maintenance: bool = False
    stopped: bool = False
    timestamp_seconds: int = 0
    conf_on_shared_storage: bool = True
    local_conf_timestamp_seconds: int = 0
    crc32: str = ""
    extra: str = ""
    memory_mib: Optional[int] = None
    cpu_threads: Optional[int] = None
    changed_at: Optional[Instant] = None
    problem: str = ""
    predecessor: bool = False
    order_seen: int = 0
    other_vms: Optional[int] = None
    proven: str = ""
    refresh_asked: int = 0
    maintenance_note: str = ""
    incidents: str = ""
    """What it tells the others of incidents (incidents/share.py)."""
    network_lost: bool = False
    engine_page: str = ""
    page_bad_seconds: int = 0
    fresh: bool = True

    @property
    def shown_name(self) -> str:
        """Its name, or its number where it has told none."""
        return self.host_name or f"host {self.host_id}"


@dataclass(frozen=True)
class OrderEntry:
    """The cluster's newest order (maintenance/order.py): who set maintenance or shuts down.

    `what`: maintenance, shutdown or none. Only `in_force` makes it count: the flag in slot 0 is
    on. `remaining_seconds` is how long it still holds, None without an end; `until_unix_seconds`
    is the same on the setter's calendar, for people. `now`: a shutdown that waits for nobody.
    """

    number: int
    what: str
    who: str = ""
    host_id: int = 0
    host_name: str = ""
    at_unix_seconds: float = 0.0
    until_unix_seconds: Optional[float] = None
    remaining_seconds: Optional[float] = None
    reason: str = ""
    now: bool = False
    in_force: bool = False


@dataclass(frozen=True)
class PendingEntry:
    """A definition in the store that the guard refuses, so that the one before stays in use.

    `codes` and `sentences` are the refusals (guard.py), `differences` what it would change,
    `advice` what a person can do; `may_force`: a person may insist on it.
    """

    identity: str
    vm_name: str = ""
    source: str = ""
    last_updated: str = ""
    codes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    may_force: bool = False
    advice: str = ""


@dataclass(frozen=True)
class DefinitionEntry:
    """The engine VM's definition. `stale`: the store can't be read, the last good one is used.

    `version` is its number in this host's history, 0 while it is not kept there, and `how` how
    it came (version.py). `history_problem` says why it is not kept; it is used all the same.
    `running` is what the VM that runs here was started from, "" where that is not known, and
    `running_problem` why it is not the one in use, where that failed to start; `fallback` what
    could be started instead (definition/starts.py).
    """

    available: bool = False
    identity: str = ""
    vm_name: str = ""
    memory_mib: int = 0
    source: str = ""
    last_updated: str = ""
    accepted_at_unix_seconds: float = 0.0
    stale: bool = False
    problem: str = ""
    notes: tuple[str, ...] = ()
    version: int = 0
    how: str = ""
    history_problem: str = ""
    running: str = ""
    running_problem: str = ""
    fallback: str = ""
    pending: Optional[PendingEntry] = None


@dataclass(frozen=True)
class HealthEntry:
    """The engine's health page as this host sees it: unknown, good or bad."""

    health: str = "unknown"
    detail: str = ""
    taken_at: Optional[Instant] = None


@dataclass(frozen=True)
class NetworkEntry:
    """The network test: share of the last samples that were lost; None while untested.

    Of this and the entries below: `taken_at` is when the sample that the figure is of was begun,
    `detail` what the newest one found, or why it found nothing, and `lately` the last ones in
    words.
    """

    share_lost: Optional[float] = None
    detail: str = ""
    taken_at: Optional[Instant] = None
    lately: str = ""


@dataclass(frozen=True)
class BridgeEntry:
    """The management bridge; None while it is not known, or not looked at."""

    up: Optional[bool] = None
    detail: str = ""
    taken_at: Optional[Instant] = None
    lately: str = ""


@dataclass(frozen=True)
class CpuEntry:
    """Share of all CPUs, 0 to 1, that was busy without the engine VM: mean of the last samples."""

    load: Optional[float] = None
    detail: str = ""
    taken_at: Optional[Instant] = None
    lately: str = ""


@dataclass(frozen=True)
class MemoryEntry:
    """Memory for the engine VM: what is available, and what the VM has already here."""

    free_mib: Optional[int] = None
    detail: str = ""
    taken_at: Optional[Instant] = None
    lately: str = ""


@dataclass(frozen=True)
class DomainEntry:
    """The storage domain as broker and VDSM reach it; the broker's last call took so long."""

    accessible: Optional[bool] = None
    latency_seconds: Optional[float] = None
    detail: str = ""
    taken_at: Optional[Instant] = None
    lately: str = ""


@dataclass(frozen=True)
class StorageEntry:
    """How storage does: when the status blocks were last read and written, and what is wrong.

    `connection_problem`: why the domain is not connected, or not by all of its paths."""

    read_at: Optional[Instant] = None
    written_at: Optional[Instant] = None
    problem: str = ""
    workers_replaced: int = 0
    workers_stuck: int = 0
    connection_problem: str = ""


@dataclass(frozen=True)
class PenaltyEntry:
    """Points lost, what for, and the measured cause."""

    name: str
    points: int
    cause: str


@dataclass(frozen=True)
class WaitEntry:
    """What the agent waits for, as the end of "waiting for ...", and until when; None: for as
    long as it takes."""

    what: str
    until: Optional[Instant] = None


@dataclass(frozen=True)
class OtherEntry:
    """Whether another host could take the engine VM over, and a word on why or why not."""

    host_id: int
    able: bool = False
    why: str = ""


@dataclass(frozen=True)
class EventEntry:
    """One line of the timeline: a sentence, and the facts in it as `values`.

    `number` is the place in the broker's log, from 1, growing; 0 before it has one. `serial`
    is the agent's own number of an event of its, by which the broker knows a repeated one;
    0 for the broker's. `kind` is one of event_log.KINDS. `message` is the name of the journal's
    message for it, "" where it has none.
    """

    kind: str
    text: str
    at_unix_seconds: float = 0.0
    number: int = 0
    serial: int = 0
    values: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class VmOrderEntry:
    """An operator's order for this host's agent: `what` is start, stop or "force stop"."""

    number: int
    what: str
    who: str = ""


@dataclass(frozen=True)
class VmProgressEntry:
    """How far the agent is with that order: none, open, asked, done or refused, and why."""

    number: int = 0
    phase: str = "none"
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What the agent tells of itself: goes into this host's status block and to operators.

    `engine_page` and `page_bad_since` are as in HostEntry, the latter as a time of our clock;
    `hand_over_at` is when the engine VM is stopped here because other hosts don't reach it.
    """

    state: str = "StartState"
    state_meaning: str = ""
    state_since: Optional[Instant] = None
    reason: str = ""
    score: int = 0
    penalties: tuple[PenaltyEntry, ...] = ()
    engine_status: Mapping[str, str] = field(default_factory=dict)
    local_maintenance: bool = False
    stopped: bool = False
    watch_engine: bool = False
    running_definition: str = ""
    second_vm_on: tuple[str, ...] = ()
    better_host: Optional[int] = None
    network_lost: bool = False
    engine_page: str = ""
    page_bad_since: Optional[Instant] = None
    hand_over_at: Optional[Instant] = None
    waits: tuple[WaitEntry, ...] = ()
    others: tuple[OtherEntry, ...] = ()
    events: tuple[EventEntry, ...] = ()
    vm_order: VmProgressEntry = field(default_factory=VmProgressEntry)
    vdsm_silent_since: Optional[Instant] = None
    vm_seen: str = ""
    vm_seen_at: Optional[Instant] = None
    made_at: Optional[Instant] = None


@dataclass(frozen=True)
class Snapshot:
    """Everything that the broker knows. `version` grows with each change of any part."""

    version: int
    host_id: int
    host_name: str
    vm_uuid: str
    made_at: Instant
    lease: LeaseEntry = field(default_factory=LeaseEntry)
    hosts: tuple[HostEntry, ...] = ()
    global_maintenance: Optional[bool] = None
    order: Optional[OrderEntry] = None
    vm_order: Optional[VmOrderEntry] = None
    definition: DefinitionEntry = field(default_factory=DefinitionEntry)
    health: HealthEntry = field(default_factory=HealthEntry)
    network: NetworkEntry = field(default_factory=NetworkEntry)
    bridge: BridgeEntry = field(default_factory=BridgeEntry)
    cpu: CpuEntry = field(default_factory=CpuEntry)
    memory: MemoryEntry = field(default_factory=MemoryEntry)
    domain: DomainEntry = field(default_factory=DomainEntry)
    storage: StorageEntry = field(default_factory=StorageEntry)
    agent: Report = field(default_factory=Report)
    push: PushEntry = field(default_factory=PushEntry)
    certificates: tuple[CertificateEntry, ...] = ()
    incidents: tuple[IncidentEntry, ...] = ()

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ha_agent.broker.event_log import KINDS
from ha_agent.broker.snapshot import (
    DefinitionEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    OrderEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.broker.timeline import AGENT_SILENT_SECONDS, changes, second_vms
from ha_agent.instant import Instant

NOW = Instant(1000.0)
ALPHA = HostEntry(1, "alpha", alive=True, score=3400, changed_at=NOW)
BETA = HostEntry(2, "beta", alive=True, score=3400, changed_at=NOW)
GAMMA = replace(BETA, host_id=3, host_name="gamma")
HELD = LeaseEntry("held", host_id=2, host_name="beta", epoch=7)
OURS = LeaseEntry("held", ours=True, host_id=1, host_name="alpha", epoch=8)
FREE = LeaseEntry("free", host_id=2, host_name="beta", epoch=7, detail="migrated")
PENDING = PendingEntry("d2", codes=("no_disk",), sentences=("it has no disk",), advice="fix it")
READ = DefinitionEntry(available=True, identity="d1", how="read", version=3)
REPORTED = Report(made_at=NOW, score=1000)
ORDER = OrderEntry(4, "maintenance", who="kim", host_id=2, host_name="beta", reason="new disks")
SET = replace(ORDER, in_force=True)
SHUTDOWN = replace(SET, what="shutdown")
ENDED = OrderEntry(5, "none", who="lee", host_id=1, host_name="alpha", reason="done")
PLAIN = Snapshot(
    1,
    1,
    "alpha",
    "vm",
    NOW,
    lease=HELD,
    hosts=(ALPHA, BETA),
    global_maintenance=False,
    definition=READ,
    agent=REPORTED,
)


def told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    events = changes(replace(PLAIN, **before), replace(PLAIN, **after))
    assert all(event.kind in KINDS for event in events)
    assert all(event.text.endswith(".") for event in events)
    return [(event.kind, event.text) for event in events]


CASES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"lease": FREE}, {"lease": OURS}, "lease", "This host took the lease (epoch 8)."),
    (
        {"lease": LeaseEntry()},
        {"lease": HELD},
        "lease",
        "The lease is held by beta (id 2), epoch 7.",
    ),
    ({"lease": HELD}, {"lease": replace(HELD, host_id=3, host_name="gamma", epoch=8)},
     "lease", "gamma (id 3) took the lease (epoch 8)."),
    ({"lease": HELD}, {"lease": replace(HELD, state="expired")},
     "lease", "The lease of beta (id 2) has expired (epoch 7): it was not renewed."),
    ({"lease": HELD}, {"lease": FREE},
     "lease", "beta (id 2) gave the lease up (epoch 7): migrated."),
    ({"lease": OURS}, {"lease": replace(OURS, state="unknown", ours=False, detail="EIO")},
     "lease", "This host lost the lease (epoch 8): EIO."),
    ({"lease": OURS}, {"lease": replace(OURS, ours=False, detail="lease lost: not renewed")},
     "lease", "This host lost the lease (epoch 8): lease lost: not renewed."),
    # The release is on storage.
    ({"lease": replace(OURS, ours=False)},
     {"lease": replace(OURS, state="free", ours=False, detail="released: moves")},
     "lease", "This host gave the lease up (epoch 8): released: moves."),
    ({"lease": HELD}, {"lease": LeaseEntry("unreadable", epoch=7, detail="torn")},
     "lease", "Nothing is known of the lease any more: torn."),
    ({}, {"storage": StorageEntry(problem="not readable: EIO")},
     "storage", "Shared storage is in trouble: not readable: EIO."),
    ({"storage": StorageEntry(problem="EIO")}, {},
     "storage", "Shared storage is fine again (it was: EIO)."),
    ({}, {"storage": StorageEntry(workers_stuck=2)},
     "storage", "Shared storage hangs: 2 of our processes stuck in the kernel."),
    ({}, {"global_maintenance": True, "order": replace(ORDER, in_force=True)},
     "maintenance", "Global maintenance is on by kim on beta (id 2): new disks."),
    ({"global_maintenance": True}, {},
     "maintenance", "Global maintenance is off."),
    ({"global_maintenance": True, "order": SET}, {"order": ENDED},
     "maintenance", "Global maintenance is off, ended by lee on alpha (id 1): done."),
    # The flag was seen to be off before the order was taken back.
    ({"order": SET}, {"order": ENDED},
     "maintenance", "Global maintenance was ended by lee on alpha (id 1): done."),
    ({"order": SHUTDOWN}, {"order": ENDED},
     "maintenance", "The cluster's shutdown was ended by lee on alpha (id 1): done."),
    # The predecessor sets the flag; our last order has nothing to do with that.
    ({"order": ENDED}, {"global_maintenance": True, "order": ENDED}, "maintenance",
     "Global maintenance is on; who set it is not known: a predecessor's host does not tell."),
    ({"global_maintenance": True, "order": ENDED}, {"global_maintenance": True, "order": SET},
     "maintenance", "Global maintenance was set by kim on beta (id 2): new disks."),
    ({"global_maintenance": True, "order": SHUTDOWN},
     {"global_maintenance": True, "order": replace(SHUTDOWN, number=6, who="lee")}, "maintenance",
     "The shutdown of the cluster was ordered again by lee on beta (id 2): new disks."),
    ({"global_maintenance": True, "order": SHUTDOWN},
     {"global_maintenance": True, "order": replace(SET, number=6)}, "maintenance",
     "The cluster's shutdown is over; global maintenance stays on by kim on beta (id 2): "
     "new disks."),
    ({}, {"global_maintenance": True, "order": replace(ORDER, what="shutdown", in_force=True)},
     "maintenance", "The shutdown of the cluster was ordered by kim on beta (id 2): new disks."),
    ({"global_maintenance": True, "order": replace(ORDER, what="shutdown", in_force=True)}, {},
     "maintenance", "The cluster's shutdown is over."),
    ({}, {"agent": replace(REPORTED, local_maintenance=True)},
     "maintenance", "Local maintenance of this host is on."),
    ({}, {"hosts": (ALPHA, replace(BETA, maintenance=True))},
     "maintenance", "beta (id 2) went into local maintenance."),
    ({}, {"hosts": (ALPHA, replace(BETA, maintenance=True, maintenance_note="by kim: disks"))},
     "maintenance", "beta (id 2) went into local maintenance (by kim: disks)."),
    ({}, {"hosts": (replace(ALPHA, maintenance_note="by kim: disks"), BETA)},
     "maintenance", "Local maintenance of this host: by kim: disks."),
    ({}, {"hosts": (ALPHA, BETA, GAMMA)}, "host", "gamma (id 3) appeared."),
    ({}, {"hosts": (ALPHA, replace(BETA, alive=False))},
     "host", "beta (id 2) has fallen silent: the status block does not change any more."),
    ({"hosts": (ALPHA, replace(BETA, alive=False), replace(GAMMA, alive=False))},
     {"hosts": (ALPHA, BETA, GAMMA)},
     "host", "beta (id 2) and gamma (id 3) are alive: the status block changes again."),
    ({}, {"hosts": (ALPHA, replace(BETA, alive=False, stopped=True))},
     "host", "beta (id 2) said that the agent there stops."),
    ({}, {"hosts": (ALPHA,)}, "host", "beta (id 2) is gone: the status block was cleared."),
    ({}, {"hosts": (ALPHA, replace(BETA, problem="bad CRC"))},
     "host", "beta (id 2): the status block can't be used: bad CRC."),
    ({}, {"hosts": (ALPHA, replace(BETA, engine_status={"vm": "up"}))},
     "host", "beta (id 2) has the engine VM running."),
    ({"hosts": (ALPHA, replace(BETA, engine_status={"vm": "up"}))}, {},
     "host", "beta (id 2) has the engine VM no longer."),
    ({}, {"definition": replace(READ, identity="d2", version=4)}, "definition",
     "The definition of the engine VM is d2 now (version 4 on this host);"
     " it was read from the store."),
    ({}, {"definition": replace(READ, identity="d2", version=4, how="pushed")}, "push",
     "The engine sent the definition d2 of its VM (version 4 on this host)."),
    ({}, {"definition": replace(READ, identity="d2", how="pushed", source="pushed by CN=e")},
     "push", "The engine (CN=e) sent the definition d2 of its VM (version 3 on this host)."),
    ({}, {"definition": replace(READ, pending=PENDING)}, "definition",
     "The guard holds the definition d2 back: it has no disk; fix it."),
    ({"definition": replace(READ, pending=PENDING)},
     {"definition": replace(READ, pending=replace(PENDING, codes=("memory",)))}, "definition",
     "The guard holds the definition d2 back: it has no disk; fix it."),
    ({"definition": replace(READ, pending=PENDING)}, {}, "definition",
     "The definition d2 is not held back any more."),
    ({}, {"definition": replace(READ, stale=True, problem="EIO")}, "definition",
     "The last good definition is used: EIO."),
    ({"definition": replace(READ, stale=True)}, {}, "definition",
     "The definition is read from the store again."),
    ({}, {"health": HealthEntry("bad", "HTTP 503")}, "health",
     "The engine does not answer well (HTTP 503)."),
    *(
        (
            {"hosts": (ALPHA, replace(BETA, network_lost=True))},
            {"hosts": (ALPHA, replace(BETA, network_lost=True)), "health": HealthEntry(word)},
            "health",
            f"The engine on beta (id 2) {said} this host.",
        )
        for word, said in (("bad", "does not answer"), ("good", "answers"))
    ),
    ({"lease": OURS, "hosts": (replace(ALPHA, network_lost=True),)},
     {"lease": OURS, "hosts": (replace(ALPHA, network_lost=True),),
      "health": HealthEntry("bad")},
     "health", "The engine does not answer well."),
    ({}, {"made_at": NOW + AGENT_SILENT_SECONDS + 1.0}, "agent",
     "This host's agent has not reported for 20 seconds."),
    ({"made_at": NOW + AGENT_SILENT_SECONDS + 1.0}, {}, "agent",
     "This host's agent reports again."),
    ({"agent": Report()}, {}, "agent", "This host's agent reports."),
    ({}, {"agent": replace(REPORTED, second_vm_on=("gamma",))}, "host",
     "gamma says that the engine VM runs there, too; the VM here is left alone."),
    ({}, {"agent": replace(REPORTED, better_host=2)}, "better host",
     "beta (id 2) would be much better for the engine VM (score 3400, here 1000);"
     " the engine may migrate it there."),
    ({"agent": replace(REPORTED, better_host=2)}, {}, "better host",
     "No other host is much better for the engine VM any more."),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "kind", "text"), CASES)
def test_one_change_is_one_event(
    before: dict[str, Any], after: dict[str, Any], kind: str, text: str
) -> None:
    assert told(before, after) == [(kind, text)]


QUIET: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({}, {"version": 9, "made_at": NOW + 1.0}),
    ({"hosts": ()}, {}),
    ({"global_maintenance": None}, {"global_maintenance": True}),
    ({"global_maintenance": None}, {}),
    ({}, {"order": ORDER}),
    ({"global_maintenance": None}, {"order": ENDED}),
    ({"global_maintenance": True, "order": SET}, {"global_maintenance": True, "order": SET}),
    ({}, {"lease": replace(HELD, last_success=NOW, expires_at=NOW)}),
    ({}, {"hosts": (replace(ALPHA, alive=False), BETA)}),
    ({}, {"hosts": (ALPHA, replace(BETA, score=1, timestamp_seconds=5, changed_at=NOW + 1.0))}),
    ({"health": HealthEntry("good")}, {}),
    ({"definition": replace(READ, pending=PENDING)}, {"definition": replace(READ, identity="d2")}),
    ({"storage": StorageEntry(problem="EIO")}, {"storage": StorageEntry(problem="EIO, again")}),
]


@pytest.mark.parametrize(("before", "after"), QUIET[:-2])
def test_what_nobody_would_be_told_on_the_phone(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert told(before, after) == []


def test_a_held_back_definition_that_comes_into_use_is_one_event() -> None:
    assert len(told(*QUIET[-2])) == 1


def test_trouble_that_goes_on_is_told_once() -> None:
    assert told(*QUIET[-1]) == []


def test_what_a_broker_finds_at_its_start_is_no_news() -> None:
    unseen = replace(BETA, alive=False, changed_at=None)
    runs = replace(BETA, engine_status={"vm": "up"})
    old = replace(PLAIN, hosts=(ALPHA, unseen), storage=StorageEntry(problem="not held yet"))
    new = replace(PLAIN, hosts=(ALPHA, runs))
    (event,) = changes(old, new, settling=True)
    assert event.text == "beta (id 2) has the engine VM running."
    assert event.values == {"had_vm": "2"}
    later = changes(old, new)
    assert [one.kind for one in later] == ["storage", "host", "host"]
    assert later[-1].values == {"has_vm": "2"}
    # It was seen to live before, so its return is news at any time.
    seen = replace(unseen, changed_at=NOW)
    assert len(changes(replace(PLAIN, hosts=(ALPHA, seen)), new, settling=True)) == 2


def test_hundreds_of_hosts_make_one_event() -> None:
    crowd = tuple(replace(BETA, host_id=i, host_name=f"h{i}") for i in range(2, 250))
    dead = tuple(replace(host, alive=False) for host in crowd)
    ((kind, text),) = told({"hosts": crowd}, {"hosts": dead})
    assert kind == "host"
    assert text.startswith("h2 (id 2), h3 (id 3)")
    assert "and 238 more hosts have fallen silent" in text


def test_a_first_definition_and_its_end_of_maintenance() -> None:
    ((_, text),) = told({"definition": DefinitionEntry()}, {})
    assert text == "The definition of the engine VM is d1 (version 3 on this host)."
    until = replace(ORDER, in_force=True, until_unix_seconds=1_700_000_000.0)
    ((_, text),) = told({}, {"global_maintenance": True, "order": until})
    assert ", until 20" in text


@pytest.mark.parametrize("detail", ["taken: free: our turn", "released: stopped"])
def test_a_release_that_is_under_way_is_no_loss_and_nobody_took_the_lease(detail: str) -> None:
    releasing = replace(OURS, ours=False, detail=detail)
    assert told({"lease": OURS}, {"lease": releasing}) == []


def test_the_last_word_of_an_owner_that_died_is_no_second_vm() -> None:
    said = replace(REPORTED, second_vm_on=("beta",), state_since=NOW)
    picture = replace(PLAIN, agent=said, hosts=(HostEntry(2, "beta", changed_at=NOW - 20.0),))
    assert second_vms(picture) == ()
    newer = replace(picture, hosts=(HostEntry(2, "beta", changed_at=NOW + 1.0),))
    assert second_vms(newer) == ("beta",)

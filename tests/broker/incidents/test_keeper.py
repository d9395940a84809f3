# SPDX-License-Identifier: Apache-2.0
"""Stories of incidents on one and on several hosts, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ha_agent.broker.incidents.keeper import Wanted
from ha_agent.broker.notify.channel import Outcome
from ha_agent.broker.notify.message import Notice
from ha_agent.broker.snapshot import DefinitionEntry, PenaltyEntry, StorageEntry
from tests.broker.incident_world import DOWN, UP, BoxChannel, World

SETTLED = 60.0


def fall(world: World) -> None:
    world.hosts[1].status = DOWN


async def test_an_engine_that_stays_down_is_one_mail_and_its_end_another() -> None:
    world = World(2)
    await world.run(SETTLED)
    world.hosts[1].status = DOWN
    await world.run(90)
    assert world.box.mails == []  # a restart takes as long
    await world.run(150)
    assert world.box.subjects == ["[hosted engine] critical: The engine VM is down"]
    text = str(world.box.mails[0][1].body["text"])
    assert "What you should do" in text
    assert "nobody knows" in text
    assert VM_NAME in text
    await world.run(60)
    assert len(world.box.mails) == 1
    world.hosts[1].status = UP
    await world.run(300)
    assert world.box.subjects[1:] == ["[hosted engine] resolved: The engine VM is down"]
    assert "Resolved after 5 min 0 s." in str(world.box.mails[1][1].body["text"])


VM_NAME = "00000000-0000-4000-8000-000000000001"


async def test_what_comes_and_goes_is_one_incident() -> None:
    world = World(2)
    await world.run(SETTLED)

    def flap(at: float) -> None:
        world.hosts[1].status = UP if at % 60 < 10 else DOWN

    await world.run(3600, flap)
    assert len(world.box.mails) == 1
    assert [one.kind for one in world.hosts[1].keeper.entries()] == ["engine-down"]


async def test_a_restart_within_its_time_is_told_to_nobody() -> None:
    world = World(2)
    await world.run(SETTLED)
    fall(world)
    await world.run(100)
    world.hosts[1].status = UP
    await world.run(600)
    assert world.box.mails == []


async def test_an_agent_that_restarts_every_10_s_for_an_hour_is_one_mail() -> None:
    world = World(2)
    await world.run(SETTLED)

    def restart(at: float) -> None:
        host = world.hosts[1]
        host.report = replace(host.report, state="StartState")
        if at % 10 == 0:
            host.agent_starts.append(world.clock.now())
            del host.agent_starts[:-200]

    await world.run(3600, restart)
    assert world.box.subjects == [
        "[hosted engine] warning: The daemons restart again and again on alpha"
    ]


async def test_a_broker_that_restarts_every_10_s_floods_nobody() -> None:
    world = World(2)
    await world.run(SETTLED)
    fall(world)

    def restart(at: float) -> None:
        if at % 10 == 0:
            world.hosts[1].start()

    await world.run(3600, restart)
    # Nothing of the one that never settles; the other tells that the engine is down.
    assert {host for host, _ in world.box.mails} == {"beta"}
    assert len(world.box.mails) == 1


async def test_a_restarted_broker_tells_nothing_again_and_tells_the_end() -> None:
    world = World(1)
    await world.run(SETTLED)
    fall(world)
    await world.run(300)
    world.hosts[1].start()
    await world.run(300)
    assert len(world.box.mails) == 1
    world.hosts[1].status = UP
    await world.run(300)
    assert [mail.body["incidents"][0]["state"] for _, mail in world.box.mails] == [
        "opened",
        "closed",
    ]


async def test_three_hosts_send_one_mail() -> None:
    world = World(3)
    await world.run(SETTLED)
    fall(world)
    await world.run(600)
    assert [host for host, _ in world.box.mails] == ["alpha"]


async def test_the_next_host_goes_on_when_the_sender_dies_before_it_told() -> None:
    world = World(3)
    await world.run(SETTLED)
    fall(world)
    await world.run(125)
    assert world.box.mails == []
    world.hosts[1].runs = False
    await world.run(900)
    told = [one["kind"] for _, mail in world.box.mails for one in mail.body["incidents"]]
    assert sorted(told) == ["engine-down", "host-silent"]
    assert {host for host, _ in world.box.mails} == {"beta"}


async def test_the_next_host_repeats_nothing_and_tells_the_end_in_the_same_thread() -> None:
    world = World(3)
    await world.run(SETTLED)
    fall(world)
    await world.run(200)
    assert [host for host, _ in world.box.mails] == ["alpha"]
    opened = world.box.mails[0][1]
    world.hosts[1].runs = False
    await world.run(300)
    kinds = [one["kind"] for _, mail in world.box.mails for one in mail.body["incidents"]]
    assert kinds == ["engine-down", "host-silent"]
    world.hosts[2].status = UP
    await world.run(400)
    closing = [
        m for h, m in world.box.mails for i in m.body["incidents"] if i["state"] == "closed"
    ]
    assert [one["kind"] for one in closing[0].body["incidents"]] == ["engine-down"]
    assert opened.message_id in closing[0].references


async def test_a_leader_that_comes_back_learns_first_what_was_told() -> None:
    world = World(2)
    await world.run(SETTLED)
    world.hosts[1].runs = False
    await world.run(60)
    fall(world)
    world.hosts[1].entry_more = {"engine_status": DOWN}
    await world.run(400)
    before = len(world.box.mails)
    kinds = {one["kind"] for _, mail in world.box.mails for one in mail.body["incidents"]}
    assert "engine-down" in kinds
    assert {h for h, _ in world.box.mails} == {"beta"}
    world.hosts[1].runs = True
    world.hosts[1].start()
    await world.run(100)
    assert len(world.box.mails) == before
    await world.run(300)
    late = [i["state"] for _, m in world.box.mails[before:] for i in m.body["incidents"]]
    assert "opened" not in late


async def test_a_host_whose_mail_fails_leaves_it_to_another() -> None:
    world = World(2)
    await world.run(SETTLED)
    world.box.refuses.add("alpha")
    fall(world)
    await world.run(900)
    assert [host for host, _ in world.box.mails] == ["beta"]
    world.box.refuses.clear()
    await world.run(3600)
    assert len(world.box.mails) == 1


async def test_a_host_cut_off_from_storage_tells_of_itself() -> None:
    world = World(2)
    await world.run(SETTLED)
    world.hosts[2].reads = world.hosts[2].writes = False
    await world.run(300)
    told = {
        (host, one["kind"]) for host, mail in world.box.mails for one in mail.body["incidents"]
    }
    assert told == {("beta", "storage"), ("alpha", "host-silent")}


async def test_what_several_hosts_have_is_one_incident_that_grows() -> None:
    world = World(3)
    await world.run(SETTLED)
    penalty = PenaltyEntry("network", 1600, "5 of 5 pings lost")
    for host_id in (2, 3):
        world.hosts[host_id].report = replace(world.hosts[host_id].report, penalties=(penalty,))
    await world.run(2000)
    assert world.box.subjects == ["[hosted engine] warning: Host beta, gamma is not fully able"]
    world.hosts[1].report = replace(world.hosts[1].report, penalties=(penalty,))
    await world.run(2400)
    states = [mail.body["incidents"][0]["state"] for _, mail in world.box.mails]
    assert states == ["opened", "changed"]
    assert world.box.mails[1][1].body["incidents"][0]["hosts"] == ["alpha", "beta", "gamma"]


async def test_no_more_than_the_limit_is_sent_in_an_hour_and_the_rest_is_told_then() -> None:
    world = World(1, max_per_hour=1)
    await world.run(SETTLED)
    fall(world)
    await world.run(300)
    world.hosts[1].more = {"storage": StorageEntry(read_at=world.clock.now(), workers_stuck=2)}
    await world.run(600)
    assert len(world.box.mails) == 1
    world.hosts[1].more = {}
    await world.run(3600)
    assert len(world.box.mails) == 2
    assert "no more than 1 messages" in str(world.box.mails[1][1].body["text"])


async def test_what_is_muted_or_not_bad_enough_is_listed_and_not_told() -> None:
    world = World(1)
    world.wanted = Wanted("critical", ("engine-down",))
    world.hosts[1].start()
    await world.run(SETTLED)
    fall(world)
    await world.run(600)
    assert world.box.mails == []
    assert [one.kind for one in world.hosts[1].keeper.entries()] == ["engine-down"]


async def test_the_last_word_of_a_dead_host_mutes_nothing_new() -> None:
    world = World(2)
    await world.run(SETTLED)
    fall(world)
    await world.run(200)
    world.hosts[1].runs = False
    world.hosts[2].status = UP
    await world.run(600)
    before = len(world.box.mails)
    assert '"engine"' in world.hosts[1].line
    world.hosts[2].status = DOWN
    await world.run(300)
    late = [one for _, mail in world.box.mails[before:] for one in mail.body["incidents"]]
    assert ("engine-down", "opened") in [(one["kind"], one["state"]) for one in late]


def kinds_of(mail: Notice) -> list[str]:
    return [one["kind"] for one in mail.body["incidents"] if one["state"] == "opened"]


async def test_a_fail_over_that_works_is_told_as_such_and_as_nothing_else() -> None:
    """The dead owner's block counts as alive for longer than the fail-over takes."""
    world = World(3)
    await world.run(SETTLED)
    world.hosts[1].runs = False
    await world.run(15)
    world.hosts[2].status = UP
    world.hosts[2].report = replace(world.hosts[2].report, second_vm_on=("alpha",))
    await world.run(20)
    world.hosts[2].report = replace(world.hosts[2].report, second_vm_on=())
    await world.run(1800)
    told = [
        (one["kind"], one["state"])
        for _, mail in world.box.mails
        for one in mail.body["incidents"]
    ]
    assert sorted(told) == [("engine-moved", "opened"), ("host-silent", "opened")]


async def test_a_sender_that_dies_before_its_next_block_is_told_again_by_the_next() -> None:
    """At least once; and the end comes once, in the thread of a message that people have."""
    world = World(3)
    await world.run(SETTLED)
    alpha = world.hosts[1]

    @dataclass
    class Last(BoxChannel):
        async def deliver(self, notice: Notice) -> Outcome:
            alpha.runs = False  # what it told never gets into its block
            return await super().deliver(notice)

    alpha.sender.channel = Last(world.box, "alpha")
    fall(world)
    await world.run(600)
    opened = [(host, mail) for host, mail in world.box.mails if "engine-down" in kinds_of(mail)]
    assert [host for host, _ in opened] == ["alpha", "beta"]
    # The first one comes back, knows that it told, and learns that another did, too.
    alpha.runs = True
    alpha.start()
    await world.run(300)
    world.hosts[2].status = UP
    await world.run(900)
    closed = [
        mail
        for _, mail in world.box.mails
        for one in mail.body["incidents"]
        if (one["kind"], one["state"]) == ("engine-down", "closed")
    ]
    assert len(closed) == 1
    assert {mail.message_id for _, mail in opened} & set(closed[0].references)


async def test_storage_that_is_lost_is_one_mail_whatever_follows_from_it() -> None:
    world = World(1)
    await world.run(SETTLED)
    alpha = world.hosts[1]
    alpha.reads = False
    alpha.more = {"definition": DefinitionEntry(available=True, stale=True)}
    await world.run(900)
    assert [kinds_of(mail) for _, mail in world.box.mails] == [["storage"]]

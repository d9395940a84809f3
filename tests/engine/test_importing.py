# SPDX-License-Identifier: Apache-2.0

"""The whole import through the real SDK: from nothing, cut off anywhere, and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.engine.faults import EngineFault, LoginRefused
from ha_agent.engine.importing import (
    definition_note,
    interval_note,
    journal_of,
    status_of,
    steps_of,
)
from ha_agent.engine.store_view import Definition
from ha_agent.errors import DeadlineExceeded
from ha_agent.setup.step import SetupFailed
from tests.engine.engine_model import DOMAIN, VM, Model
from tests.engine.engine_server import EngineServer, Trouble
from tests.engine.importer import WANTED, Importer
from tests.fakes import FakeClock

pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")

ALL = ["import", "attach", "register", "protect", "update"]
ACTIONS = (
    "POST /storagedomains",
    "POST /datacenters/dc-1/storagedomains",
    f"POST /storagedomains/{DOMAIN}/vms/{VM}/register",
    f"PUT /vms/{VM}",
    f"POST /storagedomains/{DOMAIN}/updateovfstore",
)


class Killed(BaseException):
    """The process ends here."""


def is_imported(model: Model) -> bool:
    """Whether all is as an import leaves it."""
    return (
        model.domains[DOMAIN].status.now == "active"
        and model.vms[VM].protected
        and model.vms[VM].status.now == "up"
        and all(copy.status.now == "ok" and copy.date for copy in model.copies.values())
        and not model.formatted
    )


async def test_from_nothing(server: EngineServer, model: Model, tmp_path: Path) -> None:
    importer = Importer(server, tmp_path)
    outcome = await importer.run()
    assert model.done == ALL
    assert is_imported(model)
    assert outcome.changed == ("import", "attach", "register", "protect", "ovf_store")
    assert importer.has_said("connected: oVirt Engine 4.5.6-1.el9")
    assert importer.has_said("[2/7] import the storage domain")
    assert any("identity-1 is in use" in note and "identity-0" in note for note in outcome.notes)
    assert any("engine-config -s OvfUpdateIntervalInMinutes=5" in note for note in outcome.notes)


async def test_a_second_run_has_nothing_to_do(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    await Importer(server, tmp_path).run()
    again = Importer(server, tmp_path)
    outcome = await again.run()
    assert outcome.changed == ()
    assert model.done == ALL


async def test_a_dry_run_changes_nothing(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    importer = Importer(server, tmp_path)
    outcome = await importer.run(dry_run=True)
    assert outcome.changed == (
        "import",
        "attach",
        "activate",
        "register",
        "protect",
        "ovf_store",
    )
    assert model.done == []
    assert not (tmp_path / "setup").exists()
    assert not any(asked.startswith("PUT") for asked in server.requests)


@pytest.mark.parametrize("lost", [True, False], ids=["took effect", "did not"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_killed_at_an_action_and_run_again(
    server: EngineServer, model: Model, tmp_path: Path, action: str, lost: bool
) -> None:
    first = Importer(server, tmp_path)
    first.total_seconds = 60
    # The client is gone, whether or not the engine had done it: its requests fail from here on.
    kind = "lost" if lost else "reset"
    server.troubles = [Trouble(action, kind)]

    class DyingClock(FakeClock):
        """Ends the process at the first wait after the trouble."""

        async def sleep(self, duration_seconds: float) -> None:
            if server.troubles[0].times == 0:
                raise Killed
            await super().sleep(duration_seconds)

    first.clock = DyingClock()
    with pytest.raises(Killed):
        await first.run()
    server.troubles = []
    await Importer(server, tmp_path).run()
    assert is_imported(model)
    # The store was written after the last change, whatever the journal had said before the kill.
    assert model.done[-1] == "update"
    assert model.done.count("register") == 1
    assert model.done.count("import") == 1


@pytest.mark.parametrize("kind", ["reset", "lost", "torn", "bare"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_answer_that_is_lost_is_looked_for(
    server: EngineServer, model: Model, tmp_path: Path, action: str, kind: str
) -> None:
    server.troubles = [Trouble(action, kind)]
    await Importer(server, tmp_path).run()
    assert is_imported(model)
    assert [done for done in model.done if done != "update"] == ALL[:-1]


async def test_the_engine_restarts_in_the_middle(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    server.troubles = [
        Trouble("GET /vms/.*", "page", times=4, code=503),
        Trouble("GET /datacenters/.*", "page", times=2, code=404),
        Trouble("GET /storagedomains/.*", "reset", times=3),
    ]
    importer = Importer(server, tmp_path)
    await importer.run()
    assert is_imported(model)
    assert importer.has_said("HTTP 503, the engine is starting or restarting; trying again")


async def test_a_token_that_expires_is_got_anew(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    server.troubles = [Trouble(f"POST /storagedomains/{DOMAIN}/vms/{VM}/register", "expired")]
    await Importer(server, tmp_path).run()
    assert is_imported(model)
    assert server.logins == 2


async def test_an_engine_that_starts_is_waited_for(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    server.starting = 5
    importer = Importer(server, tmp_path)
    await importer.run()
    assert importer.has_said("answers HTTP 503: it is starting")
    assert is_imported(model)


async def test_the_timeout_is_over_the_whole(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    model.polls = 10_000
    importer = Importer(server, tmp_path)
    importer.total_seconds = 60
    with pytest.raises((DeadlineExceeded, SetupFailed), match="no answer within 60 s"):
        await importer.run()
    model.domains[DOMAIN].status.go("locked", 1, "active")
    model.polls = 1
    await Importer(server, tmp_path).run()
    assert is_imported(model)


async def test_a_wrong_password(server: EngineServer, tmp_path: Path) -> None:
    with pytest.raises(LoginRefused, match="The username or password is incorrect"):
        await Importer(server, tmp_path).run(password="wrong")
    assert not any("sso-logout" in asked for asked in server.requests)


async def test_a_fault_is_shown_as_it_is(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    server.troubles = [
        Trouble(ACTIONS[1], "fault", code=409, detail="[Cannot attach Storage. Äußerst schlecht.]")
    ]
    with pytest.raises(SetupFailed) as raised:
        await Importer(server, tmp_path).run()
    assert "HTTP 409: Operation Failed: [Cannot attach Storage. Äußerst schlecht.]" in str(
        raised.value
    )
    assert "can't attach the storage domain" in str(raised.value)
    await Importer(server, tmp_path).run()
    assert is_imported(model)


async def test_what_is_in_progress_is_waited_for(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    detail = "[Cannot attach Storage. Related operation is currently in progress.]"
    server.troubles = [Trouble(action, "fault", 8, 409, detail=detail) for action in ACTIONS]
    importer = Importer(server, tmp_path)
    await importer.run()
    assert importer.has_said("currently in progress")
    assert is_imported(model)


async def test_a_page_with_500_ends_it(server: EngineServer, tmp_path: Path) -> None:
    server.troubles = [Trouble("GET /clusters", "page", code=500)]
    with pytest.raises(SetupFailed, match="HTTP 500 with a page"):
        await Importer(server, tmp_path).run()


async def test_no_engine_at_all(server: EngineServer, tmp_path: Path) -> None:
    server.health = (200, b"<html>It works!</html>")
    with pytest.raises(EngineFault, match="is no oVirt engine"):
        await Importer(server, tmp_path).run()
    assert server.logins == 0  # the password went nowhere


async def test_without_a_broker(server: EngineServer, model: Model, tmp_path: Path) -> None:
    importer = Importer(server, tmp_path)
    importer.view.away = True
    outcome = await importer.run()
    assert is_imported(model)
    assert any("broker can't be asked" in note for note in outcome.notes)


async def test_status_changes_nothing(server: EngineServer, model: Model, tmp_path: Path) -> None:
    importer = Importer(server, tmp_path)

    async def done() -> dict[str, bool]:
        link = importer.link()
        with importer.journal(write=False) as journal:
            told = await status_of(importer.step_run(link, journal), importer.view)
        await link.close()
        return {step.name: found.done for step, found in told}

    assert not any(value for name, value in (await done()).items() if name != "host")
    assert model.done == []
    await importer.run()
    assert all((await done()).values())
    # Somebody switches it off again.
    model.vms[VM].protected = False
    assert [name for name, value in (await done()).items() if not value] == ["protect"]


async def test_status_tells_what_is_refused(server: EngineServer, tmp_path: Path) -> None:
    importer = Importer(server, tmp_path)
    importer.want(server=None)
    link = importer.link()
    with importer.journal(write=False) as journal:
        told = await status_of(importer.step_run(link, journal), importer.view)
    await link.close()
    found = {step.name: found for step, found in told}["import"]
    assert not found.done
    assert "does not say how it is connected" in found.text


def test_the_journal_is_of_this_domain_and_vm(tmp_path: Path) -> None:
    with journal_of(tmp_path, WANTED, write=True) as journal:
        journal.note("ovf_store", "wanted")
    with journal_of(tmp_path, WANTED, write=False) as journal:
        assert journal.get("ovf_store") == "wanted"


def test_the_interval_can_only_be_told() -> None:
    assert "every 5 minutes" in interval_note(5, 5)
    assert "engine-config" not in interval_note(1, 5)
    assert "engine-config -s OvfUpdateIntervalInMinutes=5" in interval_note(60, 5)
    assert "does not tell" in interval_note(None, 5)


def test_what_is_told_of_the_definition() -> None:
    one, other = Definition("a", "Mon", ""), Definition("b", "Tue", "")
    assert definition_note(one, one).endswith("the same as before")
    assert definition_note(one, other) == "definition b is in use, of Tue; it was a before"
    assert definition_note(None, other) == "definition b is in use, of Tue"
    assert "not in use: no disk" in definition_note(one, Definition("a", "", "no disk"))
    assert "can't be asked" in definition_note(one, None)


async def test_the_document_tells_every_step(server: EngineServer, tmp_path: Path) -> None:
    importer = Importer(server, tmp_path)
    with importer.journal(write=False) as journal:
        steps = steps_of(importer.step_run(importer.link(), journal), importer.view)
    text = (Path(__file__).parents[2] / "docs" / "engine-import.md").read_text()
    table = text.partition("## What it does in the engine")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [step.name for step in steps]

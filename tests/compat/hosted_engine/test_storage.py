# SPDX-License-Identifier: Apache-2.0
"""Storage, lockspace, and the records of other hosts: nothing fails open, nothing fails with 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ha_agent.broker.snapshot import Snapshot
from tests.compat.hosted_engine.running import (
    FIRST,
    PICTURE,
    SECOND,
    Here,
    deployed,
    hosted_engine,
    refusal,
    shows,
)

STOPPED = replace(
    PICTURE,
    global_maintenance=True,
    hosts=(replace(FIRST, stopped=True), replace(SECOND, alive=False)),
)


@pytest.mark.parametrize("what", ["connect", "disconnect"])
def test_connection(here: Here, what: str) -> None:
    here.broker.answers[f"storage.{what}"] = (None, True)
    assert here(f"--{what}-storage") == (0, "", "")
    here.broker.answers[f"storage.{what}"] = refusal("no route to the server", "storage")
    assert here(f"--{what}-storage") == (1, "", "no route to the server\n")


def space(**fields: Any) -> dict[str, Any]:
    sound = {
        "kind": "lockspace",
        "name": "hosted-engine",
        "path": "/x",
        "owner": "",
        "readable": True,
        "problem": "",
        "wait_seconds": 0.0,
        "hosts": [],
    }
    return {**sound, **fields}


def repairs(here: Here, *spaces: dict[str, Any]) -> None:
    looks = list(spaces)

    def check(_params: Any) -> tuple[None, Any]:
        return None, {"spaces": [looks.pop(0) if len(looks) > 1 else looks[0]]}

    here.broker.answers["lockspace.check"] = check
    here.broker.answers["lockspace.repair"] = (None, {"done": ["/x: made anew"]})


def test_a_lockspace_made_anew(here: Here) -> None:
    shows(here.broker, STOPPED)
    repairs(here, space(problem="bad magic"))
    assert here("--reinitialize-lockspace") == (0, "/x: made anew\n", "")
    assert here.asked()[-1] == ("lockspace.repair", {"dry_run": False})


def test_it_is_watched_until_nobody_is_proved_to_use_it(here: Here) -> None:
    shows(here.broker, STOPPED)
    repairs(here, space(problem="bad magic", wait_seconds=0.05), space(problem="bad magic"))
    code, out, err = here("--reinitialize-lockspace")
    assert (code, out) == (0, "/x: made anew\n")
    assert err.startswith("watching /x")


def test_the_watching_has_an_end(here: Here) -> None:
    shows(here.broker, STOPPED)
    repairs(here, space(problem="bad magic", wait_seconds=0.05))
    code, out, err = here("--reinitialize-lockspace", "--timeout=0.2")
    assert (code, out) == (1, "")
    assert "the proof that nobody uses it: no answer within 0.2 s" in err
    assert "lockspace.repair" not in [name for name, _ in here.asked()]


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (replace(STOPPED, global_maintenance=False), "in global maintenance mode only"),
        (replace(STOPPED, global_maintenance=None), "in global maintenance mode only"),
        (replace(STOPPED, hosts=PICTURE.hosts), "cannot be performed with an active agent"),
    ],
)
def test_what_stands_against_it(here: Here, picture: Snapshot, why: str) -> None:
    shows(here.broker, picture)
    repairs(here, space())
    code, out, err = here("--reinitialize-lockspace")
    assert (code, out, why in err) == (1, "", True)
    assert here.asked() == []
    assert here("--reinitialize-lockspace", "--force")[0] == 0


def test_force_switches_no_proof_off(here: Here) -> None:
    repairs(here, space(problem="bad magic"))
    here.broker.answers["lockspace.repair"] = refusal("nothing was written: host id 2 is live")
    code, _, err = here("--reinitialize-lockspace", "--force")
    assert (code, err) == (1, "nothing was written: host id 2 is live\n")


@pytest.mark.parametrize("verb", ["--clean-metadata", "--clean_metadata"])
def test_a_host_that_is_forgotten(here: Here, verb: str) -> None:
    here.broker.answers["host.remove"] = (None, {"removed": "h2"})
    assert here(verb, "--host-id=2") == (0, "host 2 is removed (h2)\n", "")
    assert here(verb, "--force-cleanup", "--host-id", "2")[0] == 0
    assert here.asked() == [("host.remove", {"host_id": 2})]


def test_a_host_that_lives_is_not_forgotten_and_that_is_no_success(here: Here) -> None:
    here.broker.answers["host.remove"] = refusal("nothing was removed: h2 lives")
    code, _, err = here("--clean-metadata", "--force-cleanup", "--host-id=2")
    assert (code, err) == (1, "nothing was removed: h2 lives\n")


def test_a_host_that_there_is_not(here: Here) -> None:
    here.broker.answers["host.remove"] = refusal("host id 7 has no status block", "not_found")
    assert here("--clean-metadata", "--host-id=7")[:2] == (0, "host id 7 has no status block\n")


@pytest.mark.parametrize("words", [(), ("--host-id=1",)])
def test_this_host_itself(here: Here, words: tuple[str, ...]) -> None:
    code, _, err = here("--clean-metadata", *words)
    assert (code, here.asked()) == (1, [])
    assert "ha-agent leave" in err


def test_the_codes_of_the_old_agent(here: Here) -> None:
    assert here("--clean-metadata", "--host-id=2", "--timeout=0.2")[0] == 254
    deployed(here.folder, "configured=False\n")
    code, _, err = here("--clean-metadata", "--host-id=2")
    assert (code, err) == (255, "Hosted engine is not configured.\n")
    deployed(here.folder)
    (here.folder / "ha-agent.conf").write_text("[nonsense]\n")
    assert here("--clean-metadata", "--host-id=2")[0] == 255


def test_the_code_of_a_process(here: Here) -> None:
    done = hosted_engine(here.folder, "--clean-metadata", "--host-id=2", "--timeout=0.2")
    assert done.returncode == 254

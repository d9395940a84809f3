# SPDX-License-Identifier: Apache-2.0
"""`--set-maintenance`: what each mode sets and ends, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ha_agent.broker.snapshot import LeaseEntry, OrderEntry, Snapshot
from tests.compat.hosted_engine.running import FIRST, GONE, PICTURE, SECOND, Here, refusal, shows

LOCAL_ON = {"scope": "local", "enabled": True}
LOCAL_OFF = {"scope": "local", "enabled": False}
GLOBAL_ON = {"scope": "global", "enabled": True}
GLOBAL_OFF = {"scope": "global", "enabled": False}
ELSEWHERE = replace(PICTURE, agent=replace(PICTURE.agent, engine_status=GONE), lease=LeaseEntry())


def run(here: Here, picture: Snapshot, mode: str, *more: str) -> tuple[int, str, str, list[Any]]:
    shows(here.broker, picture)
    here.broker.answers["maintenance.set"] = (None, {})
    code, out, err = here("--set-maintenance", f"--mode={mode}", *more)
    return code, out, err, [params for name, params in here.asked() if name == "maintenance.set"]


@pytest.mark.parametrize(
    ("mode", "picture", "wanted"),
    [
        ("global", PICTURE, [GLOBAL_ON]),
        ("none", PICTURE, [LOCAL_OFF, GLOBAL_OFF]),
        ("local", ELSEWHERE, [LOCAL_ON]),
        ("local", replace(ELSEWHERE, global_maintenance=True), [LOCAL_ON, GLOBAL_OFF]),
        ("local", replace(ELSEWHERE, global_maintenance=None), [LOCAL_ON, GLOBAL_OFF]),
        (
            "global",
            replace(PICTURE, hosts=(replace(FIRST, maintenance=True), SECOND)),
            [GLOBAL_ON, LOCAL_OFF],
        ),
    ],
)
def test_a_mode_is_all_of_it(
    here: Here, mode: str, picture: Snapshot, wanted: list[dict[str, Any]]
) -> None:
    assert run(here, picture, mode) == (0, "", "", wanted)


def test_local_is_refused_while_the_vm_is_here(here: Here) -> None:
    code, out, err, asked = run(here, PICTURE, "local")
    assert (code, out, asked) == (1, "", [])
    assert err.startswith(
        "Unable to enter local maintenance mode: the engine VM is running on the current host,"
        " please migrate it before entering local maintenance mode.\n"
    )


def test_local_where_nobody_can_tell(here: Here) -> None:
    dumb = {"vm": "unknown", "health": "unknown", "reason": "VDSM does not answer"}
    picture = replace(PICTURE, agent=replace(PICTURE.agent, engine_status=dumb))
    code, _, err, asked = run(here, picture, "local")
    assert (code, err, asked) == (
        1,
        "Failed communicating with VDSM: VDSM does not answer\n",
        [],
    )


def test_local_without_an_agent_goes_by_the_lease(here: Here) -> None:
    silent = replace(PICTURE, agent=replace(PICTURE.agent, made_at=None))
    assert run(here, silent, "local")[0] == 1
    assert run(here, replace(silent, lease=LeaseEntry()), "local")[3] == [LOCAL_ON]


def test_local_leaves_a_shutdown_of_the_cluster_in_force(here: Here) -> None:
    order = OrderEntry(1, "shutdown", in_force=True)
    picture = replace(ELSEWHERE, global_maintenance=True, order=order)
    code, _, err, asked = run(here, picture, "local")
    assert (code, asked) == (0, [LOCAL_ON])
    assert err == "the cluster is being shut down: global maintenance stays on\n"


def test_what_is_not_read_back_is_told(here: Here) -> None:
    here.broker.answers["maintenance.set"] = refusal("slot 0 can't be read back", "storage")
    assert here("--set-maintenance", "--mode=global") == (1, "", "slot 0 can't be read back\n")


def test_none_ends_global_also_where_local_can_not_be_ended(here: Here) -> None:
    def answer(params: dict[str, object]) -> tuple[object, object]:
        return refusal("disk full", "storage") if params["scope"] == "local" else (None, {})

    here.broker.answers["maintenance.set"] = answer
    assert here("--set-maintenance", "--mode=none") == (1, "", "disk full\n")
    scopes = [params["scope"] for _, params in here.asked()]
    assert scopes == ["local", "global"]


def test_wait(here: Here) -> None:
    picture = replace(ELSEWHERE, agent=replace(ELSEWHERE.agent, state="LocalMaintenance"))
    code, out, _, _ = run(here, picture, "local", "--wait")
    assert (code, out) == (0, "this host is in local maintenance; the engine VM is not here\n")
    code, out, _, _ = run(here, PICTURE, "none", "--wait")
    assert (code, out) == (0, "the engine VM runs on h1.example.com, healthy\n")
    code, _, err, _ = run(here, ELSEWHERE, "local", "--wait", "--timeout=0.3")
    assert (code, err.startswith("hosted-engine: not done within 0.3 s")) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "You must specify a maintenance mode with --mode\n"),
        (("--mode=full",), "Invalid value 'full' for --mode\n"),
    ],
)
def test_a_mode_that_is_none(here: Here, words: tuple[str, ...], said: str) -> None:
    code, out, err = here("--set-maintenance", *words)
    assert (code, here.asked()) == (1, [])
    assert said in out + err

# SPDX-License-Identifier: Apache-2.0
"""The engine VM by hand, and its console's password."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.compat.hosted_engine.running import GONE, PICTURE, UP, Here, refusal, shows

STARTED = (None, {"detail": "started"})


def seen(here: Here, status: dict[str, str], **fields: Any) -> None:
    agent = replace(PICTURE.agent, engine_status=status)
    shows(here.broker, replace(PICTURE, agent=agent, **fields))


@pytest.mark.parametrize(("verb", "paused"), [("--vm-start", False), ("--vm-start-paused", True)])
def test_a_start(here: Here, verb: str, paused: bool) -> None:
    seen(here, GONE)
    here.broker.answers["vm.start"] = STARTED
    assert here(verb) == (0, "VM in WaitForLaunch\n", "")
    assert here.asked() == [("vm.start", {"paused": paused})]


@pytest.mark.parametrize("verb", ["--vm-start", "--vm-start-paused"])
def test_a_vm_that_is_up(here: Here, verb: str) -> None:
    assert here(verb) == (1, "VM exists and its status is Up\n", "")
    assert here.asked() == []


def test_a_paused_one_is_ended_and_started(here: Here) -> None:
    seen(here, {**UP, "health": "bad", "detail": "Paused"})
    here.broker.answers["vm.start"] = here.broker.answers["vm.stop"] = STARTED
    code, out, _ = here("--vm-start")
    assert (code, out.splitlines()) == (
        0,
        ["VM exists and is Paused, cleaning up and restarting", "VM in WaitForLaunch"],
    )
    assert here.asked() == [("vm.stop", {"force": True}), ("vm.start", {"paused": False})]
    assert here("--vm-start-paused") == (1, "VM exists and its status is Paused\n", "")


@pytest.mark.parametrize(("verb", "word"), [("--vm-start", "Down"), ("--vm-start-paused", "down")])
def test_a_record_of_one_that_is_down(here: Here, verb: str, word: str) -> None:
    seen(here, {"vm": "down_unexpected", "health": "bad", "detail": "Down", "reason": "x"})
    here.broker.answers["vm.start"] = STARTED
    out = f"VM exists and is {word}, cleaning up and restarting\nVM in WaitForLaunch\n"
    assert here(verb) == (0, out, "")


def test_one_that_migrates_here(here: Here) -> None:
    seen(here, {"vm": "down", "health": "bad", "detail": "Migration Destination"})
    assert here("--vm-start")[:2] == (1, "VM exists and its status is Migration Destination\n")


def test_a_start_that_is_refused(here: Here) -> None:
    seen(here, GONE)
    here.broker.answers["vm.start"] = refusal("start: host2 holds the lease")
    assert here("--vm-start") == (1, "VM failed to launch\n", "start: host2 holds the lease\n")


def test_a_start_without_a_definition(here: Here) -> None:
    seen(here, GONE, definition=replace(PICTURE.definition, available=False))
    code, out, _ = here("--vm-start")
    assert code == 1
    assert out.startswith("The hosted engine configuration has not been retrieved from shared")
    assert here.asked() == []


def test_a_vm_conf_is_refused_by_name(here: Here) -> None:
    code, out, err = here("--vm-start", "--vm-conf=/tmp/vm.conf")
    assert (code, out) == (1, "")
    assert "--vm-conf is not supported" in err
    assert err.splitlines()[1:] == [
        "    ha-agent ovf translate --to ovf /tmp/vm.conf > engine.ovf",
        "    ha-agent store put engine.ovf",
        "    hosted-engine --vm-start",
    ]
    assert here.asked() == []


def test_a_start_that_is_waited_for(here: Here) -> None:
    seen(here, GONE)

    def started(_params: Any) -> tuple[None, Any]:
        shows(here.broker, PICTURE)
        return STARTED

    here.broker.answers["vm.start"] = started
    assert here("--vm-start", "--wait") == (0, "VM in WaitForLaunch\n", "")
    seen(here, GONE)
    here.broker.answers["vm.start"] = STARTED
    code, out, err = here("--vm-start", "--wait", "--timeout=0.3")
    assert (code, out, err) == (1, "VM in WaitForLaunch\n", "the engine is not up within 0.3 s\n")


@pytest.mark.parametrize(("verb", "force"), [("--vm-shutdown", False), ("--vm-poweroff", True)])
def test_a_stop(here: Here, verb: str, force: bool) -> None:
    here.broker.answers["vm.stop"] = (None, {"detail": "stopped"})
    assert here(verb) == (0, "", "")
    assert here.asked() == [("vm.stop", {"force": force})]
    here.broker.answers["vm.stop"] = refusal("set global maintenance first")
    assert here(verb) == (1, "", "set global maintenance first\n")


def test_a_broker_that_hangs_is_not_waited_for(here: Here) -> None:
    code, _, err = here("--vm-shutdown", "--timeout=0.3")
    assert (code, "no answer within 0.3 s" in err) == (1, True)


def test_the_consoles_password(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.broker.answers["vm.console_password"] = (None, True)
    ticket = {
        "password": "secret",
        "ttl_seconds": 120,
        "protocol": "vnc",
        "on_connected": "keep",
    }
    assert here("--add-console-password", "--password=secret") == (0, "", "")
    assert here.asked() == [("vm.console_password", ticket)]
    monkeypatch.setenv("OVIRT_HOSTED_ENGINE_CONSOLE_PASSWORD", "other")
    assert here("--add-console-password", "--spice") == (0, "", "")
    assert here.asked() == [
        ("vm.console_password", {**ticket, "password": "other", "protocol": "spice"})
    ]


def test_no_password_is_asked_for_without_a_terminal(here: Here) -> None:
    code, out, err = here("--add-console-password")
    assert (code, out) == (1, "")
    assert err.startswith("Standard input is not a terminal\n")
    assert here.asked() == []

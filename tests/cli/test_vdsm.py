# SPDX-License-Identifier: Apache-2.0
"""`ha-agent console-password`, `migration` and `storage`, against a broker that the test plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fake_broker import FakeBroker, ha_agent

ASKED = {"password": "s3cret", "ttl_seconds": 120, "protocol": "vnc", "on_connected": "keep"}


def set_password(folder: Path, broker: FakeBroker, text: str, *words: str) -> dict[str, Any]:
    """Return what the broker was asked, with the password in a file."""
    (folder / "password").write_text(text)
    broker.answers = {"vm.console_password": (None, True)}
    file = str(folder / "password")
    done = ha_agent(folder, "console-password", "--password-file", file, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "s3cret" not in done.stdout
    [(_, params)] = broker.asked
    assert isinstance(params, dict)
    return params


def test_a_password_from_a_file(folder: Path, broker: FakeBroker) -> None:
    assert set_password(folder, broker, "s3cret\r\nnot this\n") == ASKED


def test_for_spice(folder: Path, broker: FakeBroker) -> None:
    words = ("--spice", "--ttl", "5", "--on-connected", "disconnect")
    assert set_password(folder, broker, "s3cret", *words) == {
        "password": "s3cret", "ttl_seconds": 5, "protocol": "spice", "on_connected": "disconnect"
    }  # fmt: skip


@pytest.mark.parametrize("words", [(), ("--password-file", "-")])
def test_a_password_from_standard_input(
    folder: Path, broker: FakeBroker, words: tuple[str, ...]
) -> None:
    broker.answers = {"vm.console_password": (None, True)}
    done = ha_agent(folder, "console-password", *words, stdin="s3cret\n")
    assert done.returncode == 0, done.stderr
    assert broker.asked == [("vm.console_password", ASKED)]


@pytest.mark.parametrize(("text", "why"), [("\n", "has no password"), ("", "has no password")])
def test_no_password_is_said_before_anybody_is_asked(
    folder: Path, broker: FakeBroker, text: str, why: str
) -> None:
    (folder / "password").write_text(text)
    file = str(folder / "password")
    done = ha_agent(folder, "console-password", "--password-file", file)
    assert done.returncode == 1
    assert why in done.stderr
    assert broker.asked == []
    done = ha_agent(folder, "console-password", "--password-file", str(folder / "nothing"))
    assert "nothing: can't be read: No such file" in done.stderr


def test_a_refusal_is_a_sentence(folder: Path, broker: FakeBroker) -> None:
    why = "the engine VM does not run on this host"
    broker.answers = {"vm.console_password": ({"code": "refused", "message": why}, None)}
    done = ha_agent(folder, "console-password", stdin="s3cret")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"ha-agent: {why}\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"migrating": False, "progress_percent": None, "downtime_ms": None}, "is not migrating"),
        (
            {"migrating": True, "progress_percent": 40, "downtime_ms": 5},
            "this host, 40 %",
        ),
        ({"migrating": True, "progress_percent": None, "downtime_ms": None}, "is migrating away"),
    ],
)
def test_migration(folder: Path, broker: FakeBroker, answer: dict[str, Any], said: str) -> None:
    broker.answers = {"vm.migration": (None, answer)}
    assert said in ha_agent(folder, "migration").stdout
    assert json.loads(ha_agent(folder, "migration", "--json").stdout) == answer


@pytest.mark.parametrize("name", ["connect", "disconnect"])
def test_storage(folder: Path, broker: FakeBroker, name: str) -> None:
    broker.answers = {f"storage.{name}": (None, True)}
    done = ha_agent(folder, "storage", name)
    assert (done.returncode, done.stdout) == (0, f"the storage domain is {name}ed\n")
    why = "portal 10.0.0.1:3260 is not connected: code 465, unknown"
    broker.answers = {f"storage.{name}": ({"code": "storage", "message": why}, None)}
    done = ha_agent(folder, "storage", name)
    assert (done.returncode, done.stderr) == (1, f"ha-agent: {why}\n")


def test_targets(folder: Path, broker: FakeBroker) -> None:
    broker.answers = {"storage.targets": (None, {"targets": ["a:3260,1 iqn.a:b\x1b[2J"]})}
    done = ha_agent(folder, "storage", "targets")
    assert done.returncode == 0
    assert done.stdout.startswith("a:3260,1 iqn.a:b")
    assert "\x1b" not in done.stdout

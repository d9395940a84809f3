# SPDX-License-Identifier: Apache-2.0
"""What all verbs share: when the configuration is read, and how arguments are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.cli.command import Command, Parser, Verbs
from ha_agent.config import layers
from tests.small_config import write_config


def command(*words: str) -> Command:
    parser = Parser(prog="x")
    parser.add_argument("--config", type=Path)
    verbs = Verbs(parser, wants_json=False)
    verbs.group("outer", "a group").asking("ask", "help", lambda _command: 0, timeout_seconds=7)
    return Command(parser.parse_args(words))


def test_the_configuration_is_read_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "ha-agent.conf"
    made = command("--config", str(path), "outer", "ask")
    with pytest.raises(layers.ConfigError):
        _ = made.settings
    write_config(tmp_path)
    assert made.settings.host.id == 1


def test_a_verb_has_its_own_usual_timeout() -> None:
    assert command("outer", "ask").arguments.timeout == 7
    assert command("outer", "ask", "--timeout", "3").arguments.timeout == 3


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "86401"])
def test_a_timeout_that_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command("outer", "ask", "--timeout", text)
    assert "no number of seconds" in capsys.readouterr().err

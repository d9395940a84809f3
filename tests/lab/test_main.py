# SPDX-License-Identifier: Apache-2.0
"""The command line."""

from __future__ import annotations

import pytest

from lab.__main__ import main, make_parser, with_verb


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["run"]),
        (["--full"], ["run", "--full"]),
        (["up", "--storage", "block"], ["up", "--storage", "block"]),
        (["-h"], ["-h"]),
    ],
)
def test_run_may_be_left_out(words: list[str], expected: list[str]) -> None:
    assert with_verb(words) == expected


def test_a_command_in_a_host_keeps_its_own_options() -> None:
    parsed = make_parser().parse_args(["in", "host2", "ha-agent", "status", "--json"])
    assert (parsed.host, parsed.command) == ("host2", ["ha-agent", "status", "--json"])


def test_an_unknown_case_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--only", "no-such-case"]) == 2
    assert "no-such-case" in capsys.readouterr().err


def test_the_cases_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out

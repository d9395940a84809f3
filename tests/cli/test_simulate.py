# SPDX-License-Identifier: Apache-2.0
"""`ha-agent simulate`, with neither configuration nor broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ha_agent.cli import main as cli
from ha_agent.cli.command import DONE, FAILED, USAGE

SHORT = ["--hosts", "2", "--hours", "0.01"]


def simulate(*words: str) -> int:
    return cli.main(["simulate", *words])


def failing(folder: Path) -> Path:
    """Commands of a run that ends badly: nobody is left to run the engine in the calm."""
    path = folder / "commands"
    path.write_text(
        "hosts 2\nengine on h1\nseconds 900\ncalm-seconds 800\n"
        "at 20 h2 cpu-load 0.9 for 9\nat 30 all power-off\nat 41 cluster guest-crash\n"
    )
    return path


def test_a_seed_is_run_and_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seed", "3", *SHORT) == DONE
    first = capsys.readouterr().out
    assert first.startswith("seed 3: all rules held; 2 hosts, 36 s,")
    assert simulate("--seed", "3", *SHORT) == DONE
    assert capsys.readouterr().out == first  # the digest, too


def test_the_lease_s_back_end_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seed", "3", *SHORT, "--lease", "sanlock", "--json") == DONE
    assert "lease-backend sanlock" in json.loads(capsys.readouterr().out)["commands"]
    assert simulate("--seeds", "1..2", "--old", "1", "--lease", "sanlock") == USAGE


def test_the_whole_log_is_printed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seed", "3", *SHORT, "--quiet", "--log") == DONE
    lines = capsys.readouterr().out.splitlines()
    assert "EngineUp" in "\n".join(lines)
    assert lines[-1].startswith("seed 3: ")


def test_many_seeds_give_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seeds", "1..3", *SHORT, "--jobs", "1") == DONE
    assert "seeds run                       3\n" in capsys.readouterr().out


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seed", "3", *SHORT, "--json") == DONE
    answer = json.loads(capsys.readouterr().out)
    assert answer["violations"] == []
    assert answer["commands"].startswith("hosts 2\n")
    assert simulate("--seeds", "1..2", *SHORT, "--jobs", "1", "--json") == DONE
    assert json.loads(capsys.readouterr().out)["failed"] == []


def test_given_faults_are_run_in_place_of_drawn_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faults"
    path.write_text("# mine\nat 9 h1 kill agent\n")
    assert simulate("--seed", "3", *SHORT, "--faults", str(path), "--log") == DONE
    out = capsys.readouterr().out
    assert "h1 -- kill agent" in out
    assert "36 s, 1 faults" in out
    path.write_text("at 9 h3 kill agent\n")
    assert simulate("--seed", "3", *SHORT, "--faults", str(path)) == USAGE
    assert "2 hosts only" in capsys.readouterr().err


def test_a_broken_rule_is_told_shrunk_and_can_be_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(str(failing(tmp_path))) == FAILED
    out = capsys.readouterr().out
    assert "commands: a rule was broken" in out
    assert "the rule: with one able host, the engine comes up" in out
    assert "the last " in out
    begin = out.index("\nhosts ") + 1
    shrunk = tmp_path / "shrunk"
    shrunk.write_text(out[begin : out.index("\n\n", begin)])
    assert "power-off" in shrunk.read_text()
    assert "cpu-load" not in shrunk.read_text()
    assert simulate(str(shrunk), "--no-shrink") == FAILED
    assert simulate(str(shrunk), "--no-shrink", "--json") == FAILED


def test_the_scenarios_are_listed_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--list") == DONE
    listed = capsys.readouterr().out
    assert "crash-guest " in listed
    assert simulate("--list", "--json") == DONE
    assert "crash-guest" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("crash-guest", "--seed", "1"),
        ("--seed", "1", "--seeds", "1..2"),
        ("no-such-scenario",),
        ("/no/such/folder",),
    ],
)
def test_what_is_not_understood_is_said(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(*words) == USAGE
    assert "ha-agent: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--seed", "x"), ("--seeds", "5..1"), ("--hours", "0")])
def test_bad_numbers_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        simulate(*words)
    assert caught.value.code == USAGE

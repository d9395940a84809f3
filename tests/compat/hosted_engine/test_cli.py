# SPDX-License-Identifier: Apache-2.0
"""The command as a whole: help, what it does not know, and the entry point."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from ha_agent.compat.hosted_engine.verbs import BY_NAME, VERBS
from tests.compat.hosted_engine.running import Here, conf_path, deployed, hosted_engine, refusal
from tests.fake_broker import error_in

NEED_DEPLOY = [verb.name for verb in VERBS if verb.only_deployed]
OPERANDS = {"--set-shared-config": ("k", "v"), "--get-shared-config": ("k",)}


def test_without_a_verb(here: Here) -> None:
    code, out, err = here()
    assert (code, out.startswith("Usage: hosted-engine "), err) == (1, True, "")


def test_help(here: Here) -> None:
    code, out, err = here("--help")
    assert (code, out.startswith("Usage: hosted-engine "), err) == (0, True, "")


@pytest.mark.parametrize("name", BY_NAME)
def test_the_help_of_a_verb(here: Here, name: str) -> None:
    code, out, err = here(name, "--help")
    assert (code, out.startswith("Usage: hosted-engine --"), err) == (0, True, "")
    assert here("--help", name) == here("--help", name[2:]) == (0, out, "")
    assert here.asked() == []


@pytest.mark.parametrize("words", [("--bogus",), ("--help", "--bogus"), ("vm-status",), ("",)])
def test_a_verb_that_there_is_not(here: Here, words: tuple[str, ...]) -> None:
    code, out, err = here(*words)
    assert (code, out.startswith("Usage: hosted-engine "), err.count("\n")) == (1, True, 1)
    assert err.startswith("Invalid option '")


def test_help_anywhere_does_nothing(here: Here) -> None:
    for words in (("--vm-poweroff", "--timeout=5"), ("--set-shared-config", "gateway")):
        code, out, err = here(*words, "--help")
        assert (code, out.startswith("Usage: hosted-engine --"), err) == (0, True, "")
        assert here.broker.asked == []


def test_a_mistyped_password_option_is_not_repeated(here: Here) -> None:
    assert "s3cret" not in "".join(map(str, here("--add-console-pasword=s3cret")))
    assert "s3cret" not in "".join(map(str, here("--add-console-password", "--pass=s3cret")))


def test_one_deadline_is_over_all_questions(here: Here) -> None:
    """A broker that does not know the key, and then hangs, has no more time than is left."""
    here.broker.answers["conf.get_key"] = refusal("no such key", "not_found")
    code, _, err = here("--get-shared-config", "k", "--timeout=0.4")
    assert code == 1
    limit = float(err.rpartition("no answer within ")[2].split()[0])
    assert limit < 0.4


def test_a_mistake_with_json_is_json(here: Here) -> None:
    code, out, _ = here("--vm-statsu", "--json")
    assert (code, error_in(out)["code"]) == (1, "usage")
    code, out, _ = here("--vm-status", "--json", "--nonsense")
    assert (code, error_in(out)["code"]) == (1, "usage")


@pytest.mark.parametrize("name", NEED_DEPLOY)
def test_where_nothing_is_deployed(
    here: Here, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HA_AGENT_CONFIG", str(tmp_path / "none.conf"))
    monkeypatch.setenv("HA_AGENT_HOST_ROOT", str(tmp_path))
    assert here(name, *OPERANDS.get(name, ())) == (1, "You must run deploy first\n", "")
    assert here.asked() == []


def test_a_hosted_engine_conf_that_can_not_be_read(here: Here) -> None:
    conf_path(here.folder).write_text("vmid=1\nvmid=2\n")
    code, out, err = here("--vm-shutdown")
    assert (code, out) == (1, "")
    assert "hosted-engine.conf, line 2" in err


def test_the_entry_point(folder: Path) -> None:
    """The command as it is installed, in setup.cfg."""
    scripts = importlib.metadata.entry_points()
    found = [
        one.value
        for one in (
            scripts.select(group="console_scripts")
            if hasattr(scripts, "select")
            else scripts["console_scripts"]
        )
        if one.name == "hosted-engine"
    ]
    declared = (Path(__file__).resolve().parents[3] / "setup.cfg").read_text()
    assert "hosted-engine = ha_agent.compat.hosted_engine.cli:main" in declared
    assert set(found) <= {"ha_agent.compat.hosted_engine.cli:main"}
    deployed(folder)
    done = hosted_engine(folder, "--check-deployed")
    assert (done.returncode, done.stdout) == (0, "The hosted engine has been deployed\n")


def test_an_error_in_json_is_one_line(here: Here) -> None:
    here.broker.answers = {}
    code, out, _ = here("--vm-status", "--json", "--timeout=0.2")
    assert (code, out.count("\n")) == (1, 1)
    assert list(json.loads(out)) == ["error"]

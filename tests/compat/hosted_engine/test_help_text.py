# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.compat.hosted_engine import help_text
from ha_agent.compat.hosted_engine.declare import Verb
from ha_agent.compat.hosted_engine.verbs import VERBS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "hosted-engine.md"


def test_the_usage_names_every_verb_and_option() -> None:
    text = help_text.usage(VERBS)
    assert text.startswith("Usage: hosted-engine [--help] <command> [<command-args>]\n")
    for verb in VERBS:
        assert f"        {verb.name}" in text
        assert all(option.name in text for option in verb.all_options)


@pytest.mark.parametrize("text", [help_text.usage(VERBS), *map(help_text.verb_help, VERBS)])
def test_help_fits_a_terminal(text: str) -> None:
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.isascii()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: str(verb.name))
def test_the_help_of_a_verb_tells_its_options_and_codes(verb: Verb) -> None:
    text = help_text.verb_help(verb)
    assert text.startswith(f"Usage: hosted-engine {verb.name}")
    for option in verb.all_options:
        assert f"    {option.usage}\n" in text
    assert all(f"{code:>11}  {when.split()[0]}" in text for code, when in verb.exits)


def test_the_document_has_what_is_declared() -> None:
    """`scripts/make_hosted_engine_doc.py docs/hosted-engine.md` makes it so."""
    text = DOCUMENT.read_text()
    assert help_text.replace_reference(text, VERBS) == text


def test_a_document_without_its_marks() -> None:
    with pytest.raises(ValueError, match="marks"):
        help_text.replace_reference("nothing", VERBS)

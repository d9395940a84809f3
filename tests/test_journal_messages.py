# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from ha_agent.cli import main as cli
from ha_agent.journal_messages import MESSAGES

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    word
    for path in (ROOT / "ha_agent").rglob("*.py")
    if path.name != "journal_messages.py"
    for word in re.findall(r"\b[A-Z_]+\b", path.read_text())
}


def test_ids_are_random_128_bits_each_for_one_event() -> None:
    ids = [message.id for message in MESSAGES.values()]
    assert len(set(ids)) == len(ids)
    # journalctl --new-id128 gives random UUIDs (version 4), in lower case.
    assert all(re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", one) for one in ids)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_logged_somewhere(name: str) -> None:
    assert name in WORDS


@pytest.mark.parametrize("name", MESSAGES)
def test_words_are_sentences_and_guides_are_there(name: str) -> None:
    message = MESSAGES[name]
    for text in (message.what, message.we, message.you):
        assert text.endswith((".", "@", ")")), text
    assert not message.subject.endswith(".")
    assert not message.guide or (ROOT / "docs" / message.guide).is_file()


def verbs() -> set[str]:
    """All that may stand behind `ha-agent`, as "maintenance local"."""
    found: set[str] = set()

    def walk(parser: object, words: tuple[str, ...]) -> None:
        for action in getattr(parser, "_actions", ()):
            if isinstance(getattr(action, "choices", None), dict):
                for word, inner in action.choices.items():
                    found.add(" ".join((*words, word)))
                    walk(inner, (*words, word))

    walk(cli.command_line(), ())
    return found


def test_commands_that_people_are_told_to_type_exist() -> None:
    known = verbs()
    groups = {verb.split()[0] for verb in known if " " in verb}
    found = []
    for name, message in MESSAGES.items():
        for first, second in re.findall(
            r"\bha-agent ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", message.you
        ):
            if first not in ("ha-broker",):  # behind systemctl
                found.append((name, f"{first} {second}" if first in groups else first))
    assert len(found) > 20
    assert [(name, verb) for name, verb in found if verb not in known] == []

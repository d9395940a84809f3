# SPDX-License-Identifier: Apache-2.0
"""The words: every kind has its file, and a broken file costs nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ha_agent.broker.incidents.book import Incident
from ha_agent.broker.incidents.incident import KINDS
from ha_agent.broker.incidents.text import Texts, one_line, parse, read
from ha_agent.errors import BadInput

FOLDER = Path(__file__).resolve().parents[3] / "conf" / "notifications"
GOOD = "[title]\nOurs: $hosts\n[happened]\n$detail\n[cluster]\nc\n[you]\ny\n"


def incident(kind: str, **more: object) -> Incident:
    values: dict[str, object] = {"hosts": ("alpha", "beta"), "detail": "why $it is so."}
    values.update(more)
    return Incident(
        "1-1",
        kind,
        kind,
        opened_unix_seconds=1.7e9,
        changed_unix_seconds=1.7e9,
        **values,  # type: ignore[arg-type]
    )


def test_kinds_and_files_are_the_same() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_file_can_be_used_and_is_for_people(kind: str) -> None:
    words = read(FOLDER / f"{kind}.txt")
    assert len(words["title"].template) <= 80
    item = Texts(FOLDER, "vm", "alpha").item(incident(kind), 0)
    assert item.state == "opened"
    assert "why $it is so" in item.text or kind == "bad-block"
    assert ".." not in item.text


def test_an_administrators_words_go_first(tmp_path: Path) -> None:
    (tmp_path / "storage.txt").write_text(GOOD)
    texts = Texts(tmp_path, "vm", "alpha")
    assert texts.title(incident("storage")) == "Ours: alpha, beta"
    assert texts.title(incident("engine-down")) == "The engine VM is down"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        GOOD.replace("$detail", "$wrong").encode(),
        GOOD.replace("$detail", "100$").encode(),
        GOOD.replace("[you]", "[me]").encode(),
        GOOD.replace("Ours", "Ours\nand more").encode(),
        (GOOD + "[you]\nagain").encode(),
        f"hello\n{GOOD}".encode(),
        GOOD.encode() + b"x" * 20_000,
    ],
)
def test_words_that_cant_be_used_are_logged_and_ours_are(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "engine-down.txt").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        texts = Texts(tmp_path, "vm", "alpha")
    assert texts.title(incident("engine-down")) == "The engine VM is down"
    assert str(tmp_path / "engine-down.txt") in caplog.text


def test_a_dollar_sign_of_the_administrators() -> None:
    words = parse(GOOD.replace("[cluster]\nc", "[cluster]\n5 $$"), "here")
    assert words["cluster"].substitute({}) == "5 $"
    with pytest.raises(BadInput, match="here"):
        parse("[title]\n", "here")


def test_one_line_is_one_line() -> None:
    assert one_line("a\r\n b\x00\u2028c\td", 50) == "a b c d"
    assert one_line("x" * 20, 5) == "xxxx…"

# SPDX-License-Identifier: Apache-2.0
"""docs/api.md says what the declarations say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ha_agent.broker.api import document as api_document
from ha_agent.broker.api.catalogue import CATALOGUE
from ha_agent.broker.api.error_codes import ERROR_CODES

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"


def test_the_document_is_what_the_code_says() -> None:
    text = DOCUMENT.read_text()
    assert api_document.replace_section(text) == text, (
        "run `.venv/bin/python scripts/make_api_doc.py docs/api.md`"
    )


def test_every_verb_and_every_code_stands_in_it() -> None:
    text = api_document.section()
    for _title, verbs in CATALOGUE:
        for verb in verbs:
            assert f"### `{verb.name}`" in text
            assert verb.what in text
    for code in ERROR_CODES:
        assert f"| `{code}` |" in text


def test_links_lead_somewhere() -> None:
    text = api_document.section()
    targets = {heading.lower() for heading in re.findall(r"^### ([A-Za-z]+)$", text, re.M)}
    links = set(re.findall(r"\]\(#([a-z]+)\)", text))
    assert links
    assert links <= targets


def test_a_document_without_the_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="begin"):
        api_document.replace_section("# API\n")


def test_the_examples_lines_are_those_of_the_client() -> None:
    # The example in the document is Python: it has to compile.
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    compile(example, str(DOCUMENT), "exec")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from ha_agent.compat.legacy_document import document

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "predecessor-files.md"


def test_the_document_is_made_from_the_rows() -> None:
    assert document() == DOCUMENT.read_text(), "run scripts/make_predecessor_doc.py"

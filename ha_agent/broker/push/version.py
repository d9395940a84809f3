# SPDX-License-Identifier: Apache-2.0
"""Whether a definition that the engine sends is older than what the store has. Pure.

The engine counts the edits of a VM and writes the count into its OVF (`Content/Generation`,
VmStatic.dbGeneration), so of two OVFs of one VM the one with the lower number is older. Where a
number is missing, or both are the same, a document that this host has had before and that is in
use no longer is a replay: to go back is a person's decision (`ha-agent ovf rollback`), and the
engine itself counts up for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from ha_agent.ovfstore.version import Version, sha256_of
from ha_agent.ovfstore.xml_input import parse_xml

# A 64-bit column of the engine's database.
_MAX_DIGITS = 19


def generation_of(document: bytes, *, where: str) -> Optional[int]:
    """Return the engine's count of edits, None where there is none. Raises OvfError."""
    text = (parse_xml(document, where=where).findtext("Content/Generation") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def why_old(document: bytes, known: Iterable[bytes], history: Iterable[Version]) -> str:
    """Return why `document` must not replace the `known` ones, "" for no reason.

    `known`: the definition in use, and the one that waits for a person; `history`: what this
    host has had. Raises OvfError when `document` can't be read.
    """
    mine = generation_of(document, where="the document")
    digest = sha256_of(document)
    same_as_known = False
    decided = False
    for other in known:
        theirs = generation_of(other, where="the definition in use")
        if mine is not None and theirs is not None and mine < theirs:
            return f"its generation is {mine}, and the store has {theirs} already"
        same_as_known = same_as_known or sha256_of(other) == digest
        decided = decided or (mine is not None and theirs is not None and mine > theirs)
    if same_as_known or decided:
        return ""
    for version in history:
        # What came out of a backup was never in use as such.
        if version.sha256 == digest and version.how != "import":
            return (
                f"it is version {version.number} of this host's history, which is in use no"
                " longer; a person can go back to it (`ha-agent ovf rollback`)"
            )
    return ""

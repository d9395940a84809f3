# SPDX-License-Identifier: Apache-2.0
"""A person's approval of one definition that the guard refuses: a codec.

It stands beside the OVF in the archive, as the member `<vm uuid>.ovf.approval`, so that every
host uses that very document. The engine reads `*.ovf` only, and drops ours with its next whole
update, which then is another document anyway. The form is JSON:

    {"identity": "<first 12 hex digits of the OVF's SHA-256>", "codes": ["..."],
     "who": "...", "when": "2026-11-22T09:47:31Z"}

It can only let refusals pass that a person may insist on; that is not judged here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ha_agent.errors import BadInput
from ha_agent.ovfstore.json_input import json_object

SIZE_LIMIT_BYTES = 64 * 1024
CODE_LIMIT = 100
TEXT_LIMIT = 200


@dataclass(frozen=True)
class Approval:
    """`codes` of the refusals that are overruled, for the document of this identity only."""

    identity: str
    codes: tuple[str, ...]
    who: str
    when: str


def identity_of(document: bytes) -> str:
    """Return what we call a document by: the first 12 hex digits of its SHA-256."""
    return hashlib.sha256(document).hexdigest()[:12]


def format_approval(approval: Approval) -> bytes:
    """Return the member's content."""
    fields = {
        "identity": approval.identity,
        "codes": list(approval.codes),
        "who": approval.who,
        "when": approval.when,
    }
    return json.dumps(fields, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def parse_approval(data: bytes, *, where: str) -> Approval:
    """Return what the member says. Raises BadInput, which names the field that is wrong."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise BadInput(f"{len(data)} bytes, more than {SIZE_LIMIT_BYTES}", where=where)
    fields = json_object(data, where=where)
    codes = fields.get("codes")
    if not isinstance(codes, list) or len(codes) > CODE_LIMIT:
        raise BadInput(f"codes is not a list of at most {CODE_LIMIT}", where=where)
    return Approval(
        identity=_text(fields.get("identity"), "identity", where),
        codes=tuple(_text(code, "codes", where) for code in codes),
        who=_text(fields.get("who", ""), "who", where),
        when=_text(fields.get("when", ""), "when", where),
    )


def _text(value: Any, name: str, where: str) -> str:
    """A text that may be shown and sent: short, without control or lone surrogate characters."""
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise BadInput(f"{name} is not a text of at most {TEXT_LIMIT} characters", where=where)
    if not value.isprintable():
        raise BadInput(f"{name} has characters that can't be printed: {value!r}", where=where)
    return value

# SPDX-License-Identifier: Apache-2.0
"""What is noted of one accepted definition: a codec between values and a small JSON file.

    {"number": 17, "identity": "0123456789ab", "sha256": "<64 hex digits>",
     "accepted_at": 1795340851.5, "how": "read", "source": "volume <uuid>",
     "last_updated": "Sun Nov 22 05:16:23 UTC 2026", "approved": [], "vm_name": "HostedEngine",
     "memory_mib": 16384}

It touches no file; history.py does. Whatever is read is checked, because it is shown to people
and sent over a socket, and because a backup comes from anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.json_input import json_object

T = TypeVar("T")

HOWS = ("read", "pushed", "put", "rollback", "import", "forced")
"""How a definition came here; "import": out of a backup, and never in use as such."""
MARK_LIMIT_BYTES = 64 * 1024
_TEXT_LIMIT = 4096
# A tar header holds eleven octal digits of seconds, and so many years are enough.
_TIME_LIMIT_SECONDS = 8.0**11
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Version:
    """One version: `how` is one of HOWS, `approved` the codes that a person overruled for it.

    `source` is a text such as "volume <uuid>"; `last_updated` is the copy's, as it stood there.
    """

    number: int
    sha256: str
    accepted_at: WallTime
    source: str
    how: str
    vm_name: str
    memory_mib: int
    last_updated: str = ""
    approved: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What it is called by: the first 12 hex digits of the document's SHA-256."""
        return self.sha256[:12]


def sha256_of(document: bytes) -> str:
    """Return a document's SHA-256 as hex digits."""
    return hashlib.sha256(document).hexdigest()


def printable(text: str) -> str:
    """Return a text as it may be noted: no control characters, no lone surrogates, not long."""
    return "".join(char if char.isprintable() else "?" for char in text[:_TEXT_LIMIT])


def check_document(document: bytes, version: Version, *, where: str) -> None:
    """Raise BadInput unless this is the version's document."""
    found = sha256_of(document)
    if found != version.sha256:
        raise BadInput(
            f"its SHA-256 is {found[:12]}..., not {version.identity}... as noted", where=where
        )


def format_version(version: Version) -> bytes:
    """Return the JSON file's content."""
    fields = {
        "number": version.number,
        "identity": version.identity,
        "sha256": version.sha256,
        "accepted_at": version.accepted_at.unix_seconds,
        "how": version.how,
        "source": version.source,
        "last_updated": version.last_updated,
        "approved": list(version.approved),
        "vm_name": version.vm_name,
        "memory_mib": version.memory_mib,
    }
    return json.dumps(fields, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def parse_version(data: bytes, *, where: str) -> Version:
    """Return what the JSON file says. Raises BadInput, which names the field that is wrong."""
    if len(data) > MARK_LIMIT_BYTES:
        raise BadInput(f"{len(data)} bytes, more than {MARK_LIMIT_BYTES}", where=where)
    fields = json_object(data, where=where)
    sha256, how = _get(fields, "sha256", str, where), _get(fields, "how", str, where)
    if not _SHA256.fullmatch(sha256):
        raise BadInput(f"sha256 is {sha256!r:.80}", where=where)
    if how not in HOWS:
        raise BadInput(f"how is {how!r:.40}, none of {', '.join(HOWS)}", where=where)
    approved = _get(fields, "approved", list, where)
    return Version(
        number=_count(fields, "number", where),
        sha256=sha256,
        accepted_at=WallTime(_seconds(fields.get("accepted_at"), where)),
        source=_get(fields, "source", str, where),
        how=how,
        vm_name=_get(fields, "vm_name", str, where),
        memory_mib=_count(fields, "memory_mib", where),
        last_updated=_get(fields, "last_updated", str, where),
        approved=tuple(_get({"approved": code}, "approved", str, where) for code in approved),
    )


def _get(fields: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadInput(f"{name} is {value!r:.60}, not of type {kind.__name__}", where=where)
    if isinstance(value, str) and (len(value) > _TEXT_LIMIT or not value.isprintable()):
        raise BadInput(f"{name} is no text that can be shown: {value!r:.60}", where=where)
    return value


def _count(fields: Mapping[str, Any], name: str, where: str) -> int:
    value = _get(fields, name, int, where)
    if not 0 <= value < 2**63:
        raise BadInput(f"{name} is {value!r:.60}", where=where)
    return value


def _seconds(value: Any, where: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # The comparison is false for what is not a number, and exact for an int of any length.
    if not is_number or not 0 <= value < _TIME_LIMIT_SECONDS or not math.isfinite(value):
        raise BadInput(f"accepted_at is {value!r:.60}, no time", where=where)
    return float(value)

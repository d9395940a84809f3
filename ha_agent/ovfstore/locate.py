# SPDX-License-Identifier: Apache-2.0
"""Which copy of the OVF_STORE to read: volume descriptions, and their order.

It asks nobody: the caller lists volumes through VDSM and passes the description texts in.

A storage domain has two copies (0 to 16 are possible). The engine writes one after the other,
with the description set to `"Updated":false` around each write (facts/ovf-and-volumes.md, 1.2
and 1.3), so the copy that says `"Updated":true` is whole, and the newest of these is the one:

    {"DiskAlias":"OVF_STORE","DiskDescription":"OVF_STORE"}                      a new, empty disk
    {"Updated":false,"Last Updated":null,"Storage Domains":[{"uuid":"<sd>"}],
     "Disk Description":"OVF_STORE"}                                             never written
    {"Updated":false,"Last Updated":"Wed Jul 01 11:18:33 IDT 2020",...}   being written or failed
    {"Updated":true,"Size":22528,"Last Updated":"Wed Jul 01 11:43:07 IDT 2020",...}

`Last Updated` is Java's Date.toString() in the engine's local zone. The zone's short name is
ambiguous (IST is India, Israel and Ireland), so it is not read: both copies of a domain are
dated by one engine process, and are compared as its local calendar.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.json_input import json_object

OVF_STORE = "OVF_STORE"
# VDSM cuts descriptions at 210 characters; a longer text is not one of its.
DESCRIPTION_LIMIT_CHARS = 4096

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JAVA_DATE = re.compile(
    r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2})"
    r" (?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})"
    r" \S{1,10} (?P<year>\d{4})",
    re.ASCII,
)

LocalCalendar = tuple[int, int, int, int, int, int]
"""Year, month, day, hour, minute, second on the engine's wall; only comparable to its like."""


@dataclass(frozen=True)
class StoreDescription:
    """A decoded volume description. `size_bytes` is absent while a copy is not updated."""

    updated: bool
    last_updated_text: Optional[str] = None
    last_updated: Optional[LocalCalendar] = None
    size_bytes: Optional[int] = None
    storage_domain_uuids: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreCopy:
    """One OVF_STORE volume as VDSM lists it, with its description as it stands there."""

    image_uuid: str
    volume_uuid: str
    description: str


@dataclass(frozen=True)
class RankedCopy:
    """A copy and what its description says. `reason` tells why it is usable or why not."""

    copy: StoreCopy
    description: Optional[StoreDescription]
    usable: bool
    reason: str


def parse_description(text: str, *, where: str) -> StoreDescription:
    """Decode the description of an OVF_STORE volume. Raises BadInput naming the key at fault."""
    if len(text) > DESCRIPTION_LIMIT_CHARS:
        raise BadInput(f"description of {len(text)} characters", where=where)
    value = json_object(text, where=where, what="description")
    if value.get("DiskDescription") == OVF_STORE and "Updated" not in value:
        return StoreDescription(updated=False)
    if value.get("Disk Description") != OVF_STORE:
        raise BadInput(
            f"'Disk Description' is {value.get('Disk Description')!r}, not {OVF_STORE!r}",
            where=where,
        )
    updated = value.get("Updated")
    if not isinstance(updated, bool):
        raise BadInput(f"'Updated' is neither true nor false: {updated!r}", where=where)
    size = value.get("Size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise BadInput(f"'Size' is not a number of bytes: {size!r}", where=where)
    last_text = value.get("Last Updated")
    if last_text is not None and not isinstance(last_text, str):
        raise BadInput(f"'Last Updated' is not a text: {last_text!r}", where=where)
    return StoreDescription(
        updated=updated,
        last_updated_text=last_text,
        last_updated=None if last_text is None else parse_java_date(last_text, where=where),
        size_bytes=size,
        storage_domain_uuids=_domain_uuids(value.get("Storage Domains"), where),
    )


def format_description(
    *,
    storage_domain_uuid: str,
    updated: bool,
    last_updated_text: Optional[str],
    size_bytes: Optional[int] = None,
) -> str:
    """Return a description as the engine writes it: its keys in its order, without blanks.

    `size_bytes` belongs to an updated copy only; ValueError when the two don't agree.
    """
    if updated != (size_bytes is not None):
        raise ValueError("an updated copy has a size, and no other has")
    value: dict[str, object] = {"Updated": updated}
    if size_bytes is not None:
        value["Size"] = size_bytes
    value["Last Updated"] = last_updated_text
    value["Storage Domains"] = [{"uuid": storage_domain_uuid}]
    value["Disk Description"] = OVF_STORE
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def parse_java_date(text: str, *, where: str) -> LocalCalendar:
    """Decode Java's Date.toString(), `EEE MMM d HH:mm:ss zzz yyyy`, leaving the zone unread."""
    match = _JAVA_DATE.fullmatch(text)
    if match is None or match["month"] not in _MONTHS:
        raise BadInput(f"'Last Updated' is not a Java date: {text[:60]!r}", where=where)
    month = _MONTHS.index(match["month"]) + 1
    numbers = [int(match[part]) for part in ("year", "day", "hour", "minute", "second")]
    year, day, hour, minute, second = numbers
    try:
        # Java knows leap seconds no better than Python does: 0 to 59.
        datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise BadInput(f"'Last Updated' is not a date: {text!r}: {error}", where=where) from None
    return (year, month, day, hour, minute, second)


def java_date_text(wall: WallTime) -> str:
    """Return a time as Java's Date.toString() does in UTC: `Sun Nov 22 05:16:23 UTC 2026`."""
    moment = datetime.datetime.fromtimestamp(int(wall.unix_seconds), datetime.timezone.utc)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day} {month} {moment:%d %H:%M:%S} UTC {moment.year:04}"


def order_copies(
    copies: Sequence[StoreCopy], *, storage_domain_uuid: Optional[str] = None
) -> list[RankedCopy]:
    """Return every copy, the one to read first at the front, unusable ones at the end.

    Usable is a copy that says `Updated:true` with a size and, when `storage_domain_uuid` is
    given, lists that domain. Among these: newest `Last Updated`, then largest `Size`; the
    volume's uuid decides at last, so that all hosts choose the same one.
    """
    ranked = [_rank(copy, storage_domain_uuid) for copy in copies]

    def key(item: RankedCopy) -> tuple[bool, bool, LocalCalendar, int, str]:
        description = item.description or StoreDescription(updated=False)
        date = description.last_updated or (0, 0, 0, 0, 0, 0)
        size = description.size_bytes or 0
        return (item.usable, description.updated, date, size, item.copy.volume_uuid)

    return sorted(ranked, key=key, reverse=True)


def _rank(copy: StoreCopy, storage_domain_uuid: Optional[str]) -> RankedCopy:
    try:
        description = parse_description(copy.description, where=f"volume {copy.volume_uuid}")
    except BadInput as error:
        return RankedCopy(copy, None, False, str(error))

    def refuse(reason: str) -> RankedCopy:
        return RankedCopy(copy, description, False, f"volume {copy.volume_uuid}: {reason}")

    if not description.updated:
        if description.last_updated is None:
            return refuse("never written")
        return refuse(
            "being written now, or its last update failed"
            f" (last whole at {description.last_updated_text})"
        )
    if description.size_bytes is None or description.last_updated is None:
        return refuse("says that it is updated, but without 'Size' or 'Last Updated'")
    domains = description.storage_domain_uuids
    if storage_domain_uuid is not None and storage_domain_uuid not in domains:
        return refuse(f"belongs to other storage domains: {', '.join(domains) or 'none'}")
    reason = f"updated {description.last_updated_text}, {description.size_bytes} bytes"
    return RankedCopy(copy, description, True, reason)


def _domain_uuids(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise BadInput(f"'Storage Domains' is not a list: {value!r}", where=where)
    uuids = []
    for entry in value:
        uuid = entry.get("uuid") if isinstance(entry, dict) else None
        if not isinstance(uuid, str):
            raise BadInput(
                f"'Storage Domains' has an entry without 'uuid': {entry!r}", where=where
            )
        uuids.append(uuid)
    return tuple(uuids)

# SPDX-License-Identifier: Apache-2.0
"""Status blocks as they stand on shared storage: the predecessor's format, version 1.

Pure: bytes to values and back. No files, no clock; times come formatted.

The status volume is an array of 4096-byte slots. Slot n is host n's, slot 0 is global.

    slot n   0    status block: UTF-8 text, filled with NUL to 512 bytes
             512  lines "key=value\\n" for people (the predecessor's "extra"), NUL to 4096.
                  Ours, after the predecessor's: reason, and those that our hosts read of each
                  other (blocks/entry.py)

    status block, tokens joined by '|'
      0 parse version     1; a reader that knows less must not go on
      1 feature version   1; newer ones only add
      2 timestamp         whole seconds of the writer's monotonic clock: it only has to change
      3 host id           the slot's number
      4 score             0..3400
      5 engine status     JSON object, json.dumps with its default separators
      6 host name
      7 maintenance       0 or 1: local maintenance
      8 stopped           0 or 1: the agent has ended on purpose
      9 crc32             8 lower-case hex digits: CRC-32 of the joined text without the NULs,
                          with 00000000 in this place
      10 conf_on_shared   0 or 1
      11 vm_conf_ts       timestamp of the last look at the engine VM's definition

    old writers end after token 6, 7, 8 or 9; new ones may add tokens: both are read
    1|1|4242|1|3400|{"vm": "up", …}|host1.example.com|0|0|4cf8471f|1|4200

    slot 0   "maintenance=1" or "maintenance=0", NUL to 4096; no newline at the end, because
             the predecessor writes none, and ends at an empty line

What is written here is ASCII to the last byte. A host of the predecessor decodes the slots of
all hosts as one UTF-8 text: a byte that is none would blind it, and each character of two bytes
shifts all later slots for it. So other characters in lines for people are written as `&#233;`, and
in the JSON they are as json.dumps has them. It also ends its agent at an engine status that it
does not know, so `encode` refuses one.

A writer that is too new says so in its first digits, whatever follows them; one whose feature
version is below our parse version is too old. Both are refused by name, and never overwritten.

Source: facts/ovf-and-volumes.md 4.3, with blocks that the predecessor's own code wrote; the
predecessor's lib/metadata.py and engine_status_score of lib/util.py for what ends its agent.
"""

from __future__ import annotations

import functools
import json
import re
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from ha_agent.broker.blocks.lines import key_value_lines as key_value_lines
from ha_agent.broker.blocks.lines import line_values as line_values
from ha_agent.errors import BadInput

SLOT_BYTES = 4096
STATUS_BYTES = 512
EXTRA_BYTES = SLOT_BYTES - STATUS_BYTES
PARSE_VERSION = 1
FEATURE_VERSION = 1

EngineStatus = Union[Mapping[str, Any], str]
"""The JSON object; text as it stood where an old host wrote something else."""

_CRC_TOKEN = 9
_FEWEST_TOKENS = 7
_NO_CRC = "00000000"
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_HOST_NAME = re.compile(r"[\x20-\x7b\x7d\x7e]+")  # printable ASCII but '|'
_VERSION = re.compile(rb"[0-9]{1,19}")
_DOWN = frozenset(("unknown", "down", "down_unexpected", "down_missing"))
_MACHINE_READ = ("vm", "health")


class BlockError(BadInput):
    """A slot that can't be used. `where` is "slot N"; the message says why."""


class BlockTooNew(BlockError):
    """A slot in a later format version: its host runs newer software than this one."""


class BlockTooOld(BlockError):
    """A slot of software so old that it can't read ours either."""


@dataclass(frozen=True)
class StatusBlock:
    """What one host says of itself.

    `timestamp_seconds` and `local_conf_timestamp` are whole seconds of that host's own
    monotonic clock: compare them with its earlier ones only. What an old host did not write
    is None. `crc32` and `extra` are set by `decode`; `encode` doesn't look at them. A block
    whose `crc32` is None came without one: it may be damaged, nothing in it can tell.
    """

    host_id: int
    host_name: str
    timestamp_seconds: int
    score: int
    engine_status: EngineStatus
    maintenance: Optional[bool] = False
    stopped: Optional[bool] = False
    conf_on_shared_storage: Optional[bool] = True
    local_conf_timestamp: Optional[int] = 0
    crc32: Optional[str] = field(default=None, compare=False)
    extra: str = field(default="", compare=False)
    parse_version: int = PARSE_VERSION
    feature_version: int = FEATURE_VERSION

    @functools.cached_property
    def lines(self) -> Mapping[str, str]:
        """The lines for people in `extra`; see `line_values`."""
        return line_values(self.extra)

    @functools.cached_property
    def kept(self) -> dict[str, Any]:
        """What a reader has made of this block and keeps with it, by the reader's module."""
        return {}


@dataclass(frozen=True)
class GlobalBlock:
    """Slot 0."""

    maintenance: bool


def encode(block: StatusBlock, extra_lines: Sequence[str] = ()) -> bytes:
    """Return the 4096-byte slot of a host.

    A text over 512 bytes is made to fit by cutting texts in the engine status, the longest
    first, never `vm`, `health` or the host name. `extra_lines` are "key=value" without
    newline (see `key_value_lines`). Raises BlockError when it does not fit or a value would
    break the format.
    """
    where = f"slot {block.host_id}"
    if block.host_id < 1:
        raise BlockError("a host id is at least 1", where=where)
    if not _HOST_NAME.fullmatch(block.host_name):
        raise BlockError(f"host name {block.host_name!r} can't stand in a block", where=where)
    extra = "".join(f"{line}\n" for line in extra_lines)
    if not extra.isascii():
        raise BlockError("an extra line that is not ASCII", where=where)
    if len(extra) > EXTRA_BYTES:
        raise BlockError(f"{len(extra)} bytes of extra lines, limit {EXTRA_BYTES}", where=where)
    if any("\n" in line or "\0" in line for line in extra_lines):
        raise BlockError("newline or NUL inside an extra line", where=where)
    status = _status_that_fits(block, where)
    return status.ljust(STATUS_BYTES, b"\0") + extra.encode("ascii").ljust(EXTRA_BYTES, b"\0")


# The blocks that somebody holds, by slot and bytes: most looks find what is known already.
_known: weakref.WeakValueDictionary[tuple[int, bytes], StatusBlock] = weakref.WeakValueDictionary()


def decode(data: bytes, *, slot: int) -> Optional[StatusBlock]:
    """Return what the host of this slot wrote; None for a slot that no host uses.

    While somebody has the block of these bytes it is not read again: the same object comes.

    Raises BlockError (BlockTooNew, BlockTooOld) for anything that is not a whole valid block. The
    lines for people are not covered by the CRC: bytes there that are not UTF-8 are replaced.
    """
    block = _known.get((slot, data))
    if block is None:
        block = _decode(data, slot)
        if block is not None:
            _known[slot, data] = block
    return block


def _decode(data: bytes, slot: int) -> Optional[StatusBlock]:
    where = f"slot {slot}"
    if len(data) != SLOT_BYTES:
        raise BlockError(f"{len(data)} bytes long, must be {SLOT_BYTES}", where=where)
    raw = data[:STATUS_BYTES].rstrip(b"\0")
    if not raw:
        return None
    # Its digits come first, so that even the delimiter may change after them.
    digits = _VERSION.match(raw)
    if digits is not None and int(digits[0]) > FEATURE_VERSION:
        raise BlockTooNew(
            f"too new: format version {int(digits[0])}, this software reads up to"
            f" {FEATURE_VERSION}",
            where=where,
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BlockError("not UTF-8", where=where, offset=error.start) from None
    tokens = text.split("|")
    version = _integer(tokens[0], "parse version", where)
    if len(tokens) < _FEWEST_TOKENS:
        raise BlockError(f"{len(tokens)} fields, at least {_FEWEST_TOKENS} expected", where=where)
    feature = _integer(tokens[1], "feature version", where)
    if feature < PARSE_VERSION:
        raise BlockTooOld(
            f"too old: feature version {feature}, this software reads from {PARSE_VERSION} on",
            where=where,
        )
    if len(tokens) > _CRC_TOKEN:
        _check_crc(tokens, where)
    if "\0" in text:
        raise BlockError("NUL inside the text", where=where, offset=raw.index(b"\0"))
    host_id = _integer(tokens[3], "host id", where)
    if host_id != slot:
        raise BlockError(f"holds the block of host {host_id}", where=where)
    return _from_tokens(tokens, version, _extra_text(data), where)


def encode_global(block: GlobalBlock) -> bytes:
    """Return the 4096 bytes of slot 0."""
    return f"maintenance={int(block.maintenance)}".encode().ljust(SLOT_BYTES, b"\0")


@functools.lru_cache(maxsize=2)  # it changes a few times a year
def decode_global(data: bytes) -> Optional[GlobalBlock]:
    """Return what slot 0 says; None when it was never written.

    As tolerant as the predecessor: a value counts by its first letter (t, y, 1 or f, n, 0, in
    either case), other keys are passed over. Raises BlockError.
    """
    where = "slot 0"
    if len(data) != SLOT_BYTES:
        raise BlockError(f"{len(data)} bytes long, must be {SLOT_BYTES}", where=where)
    raw = data.rstrip(b"\0")
    if not raw:
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BlockError("not UTF-8", where=where, offset=error.start) from None
    maintenance = None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "maintenance":
            maintenance = value.strip()
    if maintenance is None:
        raise BlockError("no maintenance=… in it", where=where)
    if maintenance[:1].lower() in ("t", "y", "1"):
        return GlobalBlock(maintenance=True)
    if maintenance[:1].lower() in ("f", "n", "0"):
        return GlobalBlock(maintenance=False)
    raise BlockError(f"maintenance={maintenance[:20]!r} is neither yes nor no", where=where)


def understood(engine_status: Mapping[str, Any]) -> bool:
    """Tell whether the predecessor knows what to make of an engine status.

    It looks at these keys unasked, and an error there ends its monitoring loop, on every host.
    """
    vm, health = engine_status.get("vm"), engine_status.get("health")
    known_vm = vm in _DOWN or (vm == "up" and isinstance(engine_status.get("detail"), str))
    return known_vm and health in (("unknown", "good", "bad") if vm in _DOWN else ("good", "bad"))


def human_values(
    block: StatusBlock, *, state: str, timestamp_text: str, conf_refresh_text: str
) -> dict[str, str]:
    """Return what the lines for people say, in the predecessor's order and words.

    `state` is the state machine's state; the two texts are the calendar times of
    `timestamp_seconds` and `local_conf_timestamp`, as WallTime.ctime() gives them.
    """
    return {
        "metadata_parse_version": str(block.parse_version),
        "metadata_feature_version": str(block.feature_version),
        "timestamp": f"{block.timestamp_seconds} ({timestamp_text})",
        "host-id": str(block.host_id),
        "score": str(block.score),
        "vm_conf_refresh_time": f"{block.local_conf_timestamp or 0} ({conf_refresh_text})",
        "conf_on_shared_storage": str(bool(block.conf_on_shared_storage)),
        "maintenance": str(bool(block.maintenance)),
        "state": state,
        "stopped": str(bool(block.stopped)),
    }


def _status_that_fits(block: StatusBlock, where: str) -> bytes:
    status = block.engine_status
    if isinstance(status, str) and re.search(r"[^\x20-\x7b\x7d\x7e]", status):
        raise BlockError("a status text with '|' or no plain ASCII in it", where=where)
    if isinstance(status, Mapping) and not understood(status):
        raise BlockError(f"engine status {dict(status)} would end old agents", where=where)
    raw = _status_bytes(block, status)
    if len(raw) > STATUS_BYTES and isinstance(status, Mapping):
        # Longer than the whole block can't stay; the loop below then takes few rounds.
        shorter = {
            key: value[:STATUS_BYTES] if isinstance(value, str) else value
            for key, value in status.items()
        }
        raw = _status_bytes(block, shorter)
        while len(raw) > STATUS_BYTES:
            texts = [
                (len(value), key)
                for key, value in shorter.items()
                if key not in _MACHINE_READ and isinstance(value, str) and value
            ]
            if not texts:
                break
            length, key = max(texts)
            # One character is 1 to 12 bytes of JSON: a cut by a twelfth never goes too far.
            cut = max(1, (len(raw) - STATUS_BYTES) // 12)
            shorter[key] = shorter[key][: max(0, length - cut)]
            raw = _status_bytes(block, shorter)
    if len(raw) > STATUS_BYTES:
        raise BlockError(f"status of {len(raw)} bytes, limit {STATUS_BYTES}", where=where)
    return raw


def _status_bytes(block: StatusBlock, engine_status: EngineStatus) -> bytes:
    status_text = engine_status
    if not isinstance(status_text, str):
        # A '|' can only stand inside a JSON string, where this escape means the same.
        status_text = json.dumps(dict(status_text)).replace("|", "\\u007c")
    tokens = [
        str(block.parse_version),
        str(block.feature_version),
        str(block.timestamp_seconds),
        str(block.host_id),
        str(block.score),
        status_text,
        block.host_name,
        str(int(bool(block.maintenance))),
        str(int(bool(block.stopped))),
        _NO_CRC,
        str(int(bool(block.conf_on_shared_storage))),
        str(block.local_conf_timestamp or 0),
    ]
    tokens[_CRC_TOKEN] = _crc(tokens)
    return "|".join(tokens).encode("utf-8")


def _crc(tokens: list[str]) -> str:
    text = "|".join([*tokens[:_CRC_TOKEN], _NO_CRC, *tokens[_CRC_TOKEN + 1 :]])
    return f"{zlib.crc32(text.encode('utf-8')):08x}"


def _check_crc(tokens: list[str], where: str) -> None:
    wanted = _crc(tokens)
    if tokens[_CRC_TOKEN] != wanted:
        raise BlockError(
            f"damaged: its CRC is {tokens[_CRC_TOKEN][:20]!r}, the text's is {wanted}",
            where=where,
        )


def _from_tokens(tokens: list[str], version: int, extra: str, where: str) -> StatusBlock:
    count = len(tokens)
    has_conf = count > 11
    return StatusBlock(
        host_id=_integer(tokens[3], "host id", where),
        host_name=tokens[6],
        timestamp_seconds=_integer(tokens[2], "timestamp", where),
        score=_integer(tokens[4], "score", where),
        engine_status=_engine_status(tokens[5]),
        maintenance=_flag(tokens[7], "maintenance", where) if count > 7 else None,
        stopped=_flag(tokens[8], "stopped", where) if count > 8 else None,
        conf_on_shared_storage=_flag(tokens[10], "conf_on_shared", where) if has_conf else None,
        local_conf_timestamp=_integer(tokens[11], "vm_conf_ts", where) if has_conf else None,
        crc32=tokens[_CRC_TOKEN] if count > _CRC_TOKEN else None,
        extra=extra,
        parse_version=version,
        feature_version=_integer(tokens[1], "feature version", where),
    )


def _engine_status(text: str) -> EngineStatus:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _extra_text(data: bytes) -> str:
    # The predecessor pads text, not bytes: after a host name that is not ASCII its lines begin
    # some bytes later.
    extra = data[STATUS_BYTES:].lstrip(b"\0")
    return extra.split(b"\0", 1)[0].decode("utf-8", "replace")


def _integer(text: str, what: str, where: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise BlockError(f"{what} is {text[:20]!r}, not a number", where=where)
    return int(text)


def _flag(text: str, what: str, where: str) -> bool:
    return _integer(text, what, where) != 0

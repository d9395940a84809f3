# SPDX-License-Identifier: Apache-2.0
"""The ring of decisions on this host's disk: a bounded file format, its writer, its reader.

`<state_dir>/decisions/` has two segment files, `0.ring` and `1.ring`. A segment is

    magic "HADECIS1" (8 bytes)  sequence (u64)      the segment with the higher one is newer
    length (u32)  crc32 (u32)  record               again and again; all numbers little-endian

When a segment is over its limit, the other one is emptied and gets the next sequence: what is
kept is between one and two segments, so the newest decisions are always there. A crash leaves
at most a torn record at the end: a reader stops there and says so, a writer cuts it off.

`DecisionRing` does file work and blocks; the agent's loop must never wait for a disk, so
`Recorder` hands steps to a thread of its own (background_writer.py).
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional

from ha_agent import __version__
from ha_agent.background_writer import BackgroundWriter
from ha_agent.decision_codec import MAX_RECORD_BYTES, encode
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.fsm.machine import Step
from ha_agent.instant import WallTime

log = logging.getLogger(__name__)

FOLDER_NAME = "decisions"
SEGMENT_BYTES = 2 << 20
TORN_END = "a record was not written to its end"
_NAMES = ("0.ring", "1.ring")
_MAGIC = b"HADECIS1"
_HEAD = struct.Struct("<8sQ")
_MAX_SEQUENCE = (1 << 63) - 1
_FRAME = struct.Struct("<II")


@dataclass(frozen=True)
class Segment:
    """What one segment file holds. `end` is where the last whole record ends; `problem` says
    what comes after it, "" for nothing."""

    sequence: int
    records: tuple[bytes, ...]
    end: int
    problem: str = ""


def parse_segment(data: bytes, *, where: str) -> Segment:
    """Return what a segment holds, as far as it is whole. Raises BadInput for another file."""
    if len(data) < _HEAD.size:
        raise BadInput("too short for a file of decisions", where=where)
    magic, sequence = _HEAD.unpack_from(data)
    if magic != _MAGIC or sequence > _MAX_SEQUENCE:
        raise BadInput("no file of decisions: it does not begin as one", where=where)
    records: list[bytes] = []
    at = _HEAD.size
    while at < len(data):
        problem = _torn(data, at)
        if problem:
            return Segment(sequence, tuple(records), at, f"{where}, byte {at}: {problem}")
        length, _ = _FRAME.unpack_from(data, at)
        records.append(data[at + _FRAME.size : at + _FRAME.size + length])
        at += _FRAME.size + length
    return Segment(sequence, tuple(records), at)


def _torn(data: bytes, at: int) -> str:
    if at + _FRAME.size > len(data):
        return TORN_END
    length, crc = _FRAME.unpack_from(data, at)
    if length > MAX_RECORD_BYTES:
        return f"a record of {length} bytes is none of ours"
    begin = at + _FRAME.size
    if begin + length > len(data):
        return TORN_END
    if zlib.crc32(data[begin : begin + length]) != crc:
        return "a record is damaged (its checksum is wrong); what follows is not read"
    return ""


def read_ring(path: Path) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Return the records of one segment file, or of a folder with them, oldest first, each with
    where it stood, and what could not be read. Raises EnvironmentFault, BadInput."""
    segments: list[tuple[Segment, Path]] = []
    problems: list[str] = []
    try:
        files = [path / name for name in _NAMES] if path.is_dir() else [path]
        for file in files:
            if len(files) > 1 and not file.exists():
                continue
            try:
                segments.append((parse_segment(_content(file), where=str(file)), file))
            except BadInput as fault:
                problems.append(str(fault))
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error
    if not segments:
        if problems:
            raise BadInput("; ".join(problems))
        raise BadInput("there are no decisions", where=str(path))
    segments.sort(key=lambda pair: pair[0].sequence)
    records = [
        (f"{file}, record {number}", record)
        for segment, file in segments
        for number, record in enumerate(segment.records, start=1)
    ]
    return records, problems + [one.problem for one, _ in segments if one.problem]


def _content(file: Path) -> bytes:
    # The writer stops at the limit and one record; whatever is longer is not ours.
    limit = SEGMENT_BYTES + MAX_RECORD_BYTES + 4096
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise BadInput(f"longer than {limit} bytes: no file of decisions", where=str(file))
    return data


class DecisionRing:
    """Appends records to the ring in `folder`. Blocks; for one thread. Raises OSError."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._file: Optional[BinaryIO] = None
        self._sequence = 0
        self._current = 0

    def append(self, record: bytes) -> None:
        """Write one record. After an OSError the next one starts from what is on disk."""
        try:
            file = self._file or self._open()
            if file.tell() >= self._segment_bytes:
                file = self._next()
            file.write(_FRAME.pack(len(record), zlib.crc32(record)) + record)
            # Not synced: after a power cut the last second of decisions may be missing.
            file.flush()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.debug("decisions: %s", error)

    def _open(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        found: list[tuple[int, int, int]] = []
        for index, name in enumerate(_NAMES):
            path = self._folder / name
            if not path.exists():
                continue
            try:
                segment = parse_segment(_content(path), where=str(path))
            except BadInput as fault:
                log.warning("decisions: %s; it is written anew", fault)
                continue
            if segment.problem:
                log.info("decisions: %s; it is cut off", segment.problem)
            found.append((segment.sequence, index, segment.end))
        if not found:
            return self._begin(0, 1)
        self._sequence, self._current, end = max(found)
        file = (self._folder / _NAMES[self._current]).open("r+b")
        file.truncate(end)
        file.seek(end)
        self._file = file
        return file

    def _next(self) -> BinaryIO:
        self.close()
        return self._begin(1 - self._current, self._sequence + 1)

    def _begin(self, index: int, sequence: int) -> BinaryIO:
        file = (self._folder / _NAMES[index]).open("wb")
        self._file, self._current, self._sequence = file, index, sequence
        # Decisions name hosts and addresses of theirs, no secrets; still nobody else's matter.
        os.fchmod(file.fileno(), 0o640)
        file.write(_HEAD.pack(_MAGIC, sequence))
        return file


class Recorder:
    """Keeps steps in the ring, without ever making the caller wait."""

    def __init__(self, ring: DecisionRing) -> None:
        self._ring = ring
        self._writer = BackgroundWriter("decisions", self._append, ring.close)
        self.start = self._writer.start
        self.stop = self._writer.stop

    @property
    def lost(self) -> int:
        """How many decisions could not be kept."""
        return self._writer.lost

    def record(self, step: Step, at: WallTime) -> None:
        """Take a step to be written. Never blocks."""
        self._writer.put((step, at))

    def _append(self, item: tuple[Step, WallTime]) -> None:
        # Encoded here, in the thread: a picture of many hosts takes a while.
        step, at = item
        self._ring.append(encode(step, at, __version__))

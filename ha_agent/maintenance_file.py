# SPDX-License-Identifier: Apache-2.0
"""This host's local maintenance, kept over restarts in `<state_dir>/ha.conf`.

The format is the predecessor's, so that a host can go back to it: `key=value` lines, of
which two are known, with `True` or `False` (facts/ovf-and-volumes.md, 4.1):

    local_maintenance=True
    local_maintenance_manual=False
    # set by: root
    # set at: 2026-11-22T06:45:49Z
    # reason: new disks
    # until: 2026-11-22T08:45:49Z
    # ends: 11042.5 s of boot 2f0c...

The engine sets the first, an operator the second; either puts the host into maintenance.
Who, when, why and until when are comments without '=', which the predecessor skips. The end is
of the operator's wish alone; on the boot that it names it is a time of the boot-time clock, after
a reboot the calendar's `until` has to do. Other keys are kept as they are. The file is local and
is replaced in one piece; reading it while it is written gives the old or the new content.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput, EnvironmentFault

FILE_NAME = "ha.conf"

_MAX_FILE_SIZE_BYTES = 1 << 16
_ENGINE, _OPERATOR = "local_maintenance", "local_maintenance_manual"
_WHO, _WHEN, _WHY, _UNTIL, _ENDS = "set by", "set at", "reason", "until", "ends"
_END = re.compile(r"([0-9]{1,12}(?:\.[0-9]+)?) s of boot (\S+)")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class LocalMaintenance:
    """What ha.conf says. `when` and `until` are ISO 8601 in UTC; the texts may be empty.

    `ends_boottime_seconds` is the end by the boot-time clock of `boot_id`; None: no such end.
    """

    by_engine: bool = False
    by_operator: bool = False
    who: str = ""
    when: str = ""
    why: str = ""
    until: str = ""
    ends_boottime_seconds: Optional[float] = None
    boot_id: str = ""
    others: tuple[tuple[str, str], ...] = ()

    @property
    def active(self) -> bool:
        """Whether this host is in local maintenance."""
        return self.by_engine or self.by_operator


def parse(text: str, where: str) -> LocalMaintenance:
    """Return what the text of a ha.conf says; `where` names it in errors.

    Raises BadInput, with the line, for a line that is neither a comment nor key=value and for
    a flag that is neither true nor false. A flag must not be guessed: a host that is believed
    to be out of maintenance gets the engine VM while somebody pulls its disks.
    """
    flags: dict[str, bool] = {}
    notes: dict[str, str] = {}
    others = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("#"):
            name, _, note = line[1:].partition(":")
            notes[name.strip()] = note.strip()
        elif line:
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not key:
                raise BadInput(f"{line[:80]!r} is not key=value", where=f"{where}:{number}")
            if key not in (_ENGINE, _OPERATOR):
                others.append((key, value))
            elif value.lower() not in _TRUTH:
                raise BadInput(
                    f"{key}={value[:80]}: expected True or False", where=f"{where}:{number}"
                )
            else:
                flags[key] = _TRUTH[value.lower()]
    end = _END.fullmatch(notes.get(_ENDS, ""))
    return LocalMaintenance(
        by_engine=flags.get(_ENGINE, False),
        by_operator=flags.get(_OPERATOR, False),
        who=notes.get(_WHO, ""),
        when=notes.get(_WHEN, ""),
        why=notes.get(_WHY, ""),
        until=notes.get(_UNTIL, ""),
        ends_boottime_seconds=float(end[1]) if end else None,
        boot_id=end[2] if end else "",
        others=tuple(others),
    )


def form(state: LocalMaintenance) -> str:
    """Return the text of a ha.conf; `parse` gives back the state, blanks in notes aside."""
    lines = [f"{_ENGINE}={state.by_engine}", f"{_OPERATOR}={state.by_operator}"]
    lines += [f"{key}={value}" for key, value in state.others]
    ends = ""
    if state.ends_boottime_seconds is not None:
        ends = f"{state.ends_boottime_seconds:.1f} s of boot {state.boot_id}"
    notes = (
        *((_WHO, state.who), (_WHEN, state.when), (_WHY, state.why)),
        *((_UNTIL, state.until), (_ENDS, ends)),
    )
    for name, text in notes:
        # An '=' in it would be a key to the predecessor; a line break would end the comment.
        note = " ".join(text.replace("=", "-").split())
        if note:
            lines.append(f"# {name}: {note}")
    return "\n".join(lines) + "\n"


def with_key(state: LocalMaintenance, key: str, value: str) -> LocalMaintenance:
    """Return the state with one key of the file set; the others are as they were.

    Raises BadInput for a flag that is neither true nor false, and for what is not one line.
    """
    if key in (_ENGINE, _OPERATOR):
        truth = _TRUTH.get(value.strip().lower())
        if truth is None:
            raise BadInput(f"{key}: expected True or False", where=FILE_NAME)
        if key == _ENGINE:
            return dataclasses.replace(state, by_engine=truth)
        return dataclasses.replace(state, by_operator=truth)
    if not key or key.startswith("#") or "=" in key or not f"{key}{value}".isprintable():
        raise BadInput(f"{key!r:.60}: must be one line, key=value", where=FILE_NAME)
    others = {**dict(state.others), key.strip(): value.strip()}
    return dataclasses.replace(state, others=tuple(others.items()))


def read(path: Path) -> LocalMaintenance:
    """Read ha.conf; a file that is not there means no maintenance.

    Raises BadInput when its content can't be used, EnvironmentFault when it can't be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except FileNotFoundError:
        return LocalMaintenance()
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_SIZE_BYTES:
        raise BadInput("is larger than 64 KiB", where=str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("is not UTF-8 text", where=str(path), offset=error.start) from error
    return parse(text, str(path))


def write(path: Path, state: LocalMaintenance) -> None:
    """Replace ha.conf; when this returns, the new state is on the disk.

    Raises EnvironmentFault when it can't be written; the old file is then as it was. Blocks
    for a write to the local disk.
    """
    try:
        replace_file(path, form(state).encode("utf-8", "replace"))
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be written: {error.strerror}") from error


def take_over(path: Path, predecessors: Path) -> bool:
    """Make our ha.conf from the predecessor's, where ours is not there; tells whether it did.

    A host that somebody put into maintenance before it was moved to us must not start the VM.
    Later only ours counts. Raises as `read` and `write` do.
    """
    if path.exists():
        return False
    write(path, read(predecessors))
    return True

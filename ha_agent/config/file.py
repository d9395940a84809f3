# SPDX-License-Identifier: Apache-2.0
"""The files of ha-agent.conf's format: found, read and cut into sections and keys.

What the texts mean is config.py's matter, which also tells the format. A line that can't be used
is a Fault, and the lines after it are read all the same; a file that can't be is a BadInput.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import NamedTuple, Optional

from ha_agent.config.schema import SECTIONS
from ha_agent.errors import BadInput

# A configuration is a few kilobytes. The bound is for a path that names a device or a log.
_MAX_FILE_SIZE_BYTES = 1 << 20


class Fault(NamedTuple):
    """One thing that is wrong; `where` is "file:line", "file", or empty if nothing is there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class Entry(NamedTuple):
    """The text that a file gives a key, and where; `name` is the key's in that file.

    `fault`: the text can't be had, and why.
    """

    section: str
    key: str
    text: str
    origin: str
    name: str
    fault: str = ""


def drop_in_folder(path: Path) -> Path:
    """Return where the files are that override keys of the one at `path`."""
    return path.parent / f"{path.name}.d"


def drop_ins(path: Path) -> list[Path]:
    """Return the files that override keys of the one at `path`, sorted. Raises BadInput."""
    folder = drop_in_folder(path)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(folder)) from error
    # A hidden file is an editor's or a package manager's, not the administrator's.
    wanted = (name for name in names if name.endswith(".conf") and not name.startswith("."))
    return [folder / name for name in sorted(wanted)]


def read_file(path: Path) -> str:
    """Return a file's text. Raises BadInput."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    if len(data) > _MAX_FILE_SIZE_BYTES:
        raise BadInput("is larger than 1 MiB: not a configuration file", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput("is not UTF-8 text", where=f"{path}:{line}") from error


def parse(text: str, file: str, faults: list[Fault]) -> list[Entry]:
    """Return the keys of a file's text, and add what is wrong with it to `faults`."""
    entries: list[Entry] = []
    first_seen: dict[tuple[str, str], int] = {}
    section: Optional[str] = None
    for line, raw in enumerate(text.split("\n"), start=1):
        where, content = f"{file}:{line}", raw.replace("\t", " ").strip()
        if not content or content.startswith("#"):
            continue
        if not content.isprintable():
            faults.append(Fault(where, "has a control character in it"))
        elif content.startswith("["):
            section = content[1:-1].strip() if content.endswith("]") else None
            if section not in SECTIONS:
                faults.append(
                    Fault(where, f"unknown section {content}{_nearest_section(section)}")
                )
                # One fault says it all: what follows belongs to no section that we know.
                section = ""
        elif "=" not in content:
            faults.append(Fault(where, f"{content!r} is neither [section] nor key = value"))
        elif section is None:
            faults.append(Fault(where, f"{content!r} stands before any [section]"))
        elif section:
            key, value = (part.strip() for part in content.split("=", 1))
            if key not in _keys(section):
                faults.append(Fault(where, f"unknown key {key!r}{_nearest_key(section, key)}"))
            elif (section, key) in first_seen:
                first = first_seen[section, key]
                faults.append(Fault(where, f"{key} is in line {first} of [{section}] already"))
            else:
                first_seen[section, key] = line
                entries.append(Entry(section, key, value, where, key))
    return entries


def _keys(section: str) -> list[str]:
    return [key.name for key in dataclasses.fields(SECTIONS[section])]


def _nearest_section(name: Optional[str]) -> str:
    near = difflib.get_close_matches(name or "", SECTIONS, n=1)
    return f"; did you mean [{near[0]}]?" if near else "; known are " + ", ".join(SECTIONS)


def _nearest_key(section: str, key: str) -> str:
    homes = [f"[{name}]" for name in SECTIONS if key in _keys(name)]
    if homes:
        return f" in [{section}]; it belongs to " + " or ".join(homes)
    near = difflib.get_close_matches(key, _keys(section), n=1, cutoff=0.5)
    if near:
        return f" in [{section}]; did you mean {near[0]}?"
    return f" in [{section}]; known are " + ", ".join(_keys(section))

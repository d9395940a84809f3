# SPDX-License-Identifier: Apache-2.0
"""A host's own small files as set-up treats them: read whole, kept before they are replaced.

    <file>.<why>-<n>      what stood in <file> before set-up replaced or removed it; n is 1, 2, ...

Content that was kept already, as by a run that was killed, is not kept twice. Nobody reads these
files but people. Local files only.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.bounded_file import read_bounded
from ha_agent.errors import EnvironmentFault

MAX_BYTES = 1 << 20


def read_file(path: Path) -> Optional[bytes]:
    """Return a file's bytes, None where there is none. Raises EnvironmentFault, BadInput for one
    that is too long."""
    try:
        return read_bounded(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read: {error.strerror}") from error


def keep_copy(path: Path, why: str) -> Optional[Path]:
    """Keep what stands in a file, with its mode and owner; return the copy, None where there is
    nothing to keep. The folder is made where it is missing. Raises EnvironmentFault, BadInput."""
    data = read_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not data:
            return None
        told = path.stat()
        kept = re.compile(re.escape(f"{path.name}.{why}-") + "([0-9]{1,6})")
        numbers = [0]
        for name in os.listdir(path.parent):
            match = kept.fullmatch(name)
            if match is not None:
                if read_file(path.with_name(name)) == data:
                    return path.with_name(name)
                numbers.append(int(match[1]))
        copy = path.with_name(f"{path.name}.{why}-{max(numbers) + 1}")
        replace_file(copy, data, mode=stat.S_IMODE(told.st_mode), owner=(told.st_uid, told.st_gid))
    except OSError as error:
        raise EnvironmentFault(f"{path} can't be kept: {error.strerror}") from error
    return copy


def remove_file(path: Path) -> None:
    """Remove a file, for good; harmless where there is none. Raises EnvironmentFault."""
    try:
        path.unlink(missing_ok=True)
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvironmentFault(f"{path} can't be removed: {error.strerror}") from error


def machine_id(root: Path) -> str:
    """Return /etc/machine-id, "" where there is none."""
    return (read_file(root / "etc" / "machine-id") or b"").decode("ascii", "replace").strip()

# SPDX-License-Identifier: Apache-2.0
"""Replace a local file so that every reader, also after a power cut, sees the old or the new."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Optional


def replace_file(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o644,
    owner: Optional[tuple[int, int]] = None,
    sync: bool = True,
) -> None:
    """Write `content` to `path`: draft, fsync, rename, fsync of the folder.

    `sync` False leaves the fsyncs out, for files that mean nothing after a power cut. The mode is
    set whatever the umask says; `owner` is user and group id, those of this process when None.
    Raises OSError, and then the old file is as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A new file, never one that is there: root writes in folders of the daemons' user, who may
        # have laid a link to anything under the draft's name. What a dead process left goes.
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            told = os.fstat(fd)
            if owner is not None and owner != (told.st_uid, told.st_gid):
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            file.flush()
            if sync:
                os.fsync(fd)
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if not sync:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

# SPDX-License-Identifier: Apache-2.0
"""Which instance of a broker this is: the word by which it knows its own lease again.

The instance must survive a restart of the broker on the same boot (it adopts its lease), and
must differ after a reboot, on another machine that was given the same host id, and in another
container that shares the kernel and so the boot id. So it is a random UUID in the run folder,
kept beside the boot id that it belongs to.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ha_agent.errors import EnvironmentFault

_BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Return the kernel's id of this boot. Source: random(4)."""
    return _BOOT_ID_PATH.read_text("ascii").strip()


def load_instance(run_dir: Path, boot_id: str) -> str:
    """Return this run folder's instance, made anew at the first call on a boot.

    Raises EnvironmentFault when the run folder can't be read or written.
    """
    path = run_dir / f"instance.{boot_id}"
    draft = run_dir / f".instance.{os.getpid()}"
    try:
        if not path.exists():
            for old in run_dir.glob("instance.*"):
                old.unlink()
            draft.write_text(f"{uuid.uuid4()}\n", "ascii")
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return str(uuid.UUID(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        raise EnvironmentFault(f"{path}: {error}") from error

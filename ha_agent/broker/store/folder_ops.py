# SPDX-License-Identifier: Apache-2.0
"""Finds the volumes of one kind in a file domain that the system has mounted, without VDSM.

These functions run in a storage worker process and may block for as long as the storage hangs.
They are for set-up: the daemons ask VDSM.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import file_domain

_MAX_DOMAINS = 64


def find_folder_volumes(path: str, disk_type: str, description: str) -> dict[str, Any]:
    """Return the domains at `path`, a domain's folder or one that has some in it, and those of
    their volumes that have this disk type or description.

    The value is {"domains": {uuid: {"path": str, "volumes": [[image, volume, path of it]],
    "untold": [sentence on a volume that can't be told about]}}}. Raises OSError, BadInput where
    there is no domain.
    """
    folder = Path(path)
    candidates = [folder] if file_domain.is_uuid(folder.name) else []
    names = sorted(name for name in os.listdir(folder) if file_domain.is_uuid(name))
    candidates += [folder / name for name in names[:_MAX_DOMAINS]]
    found = {}
    for candidate in candidates:
        if (candidate / "dom_md" / "metadata").is_file():
            found[candidate.name] = _volumes(candidate, disk_type, description)
    if not found:
        raise BadInput("no storage domain is there: is it mounted?", where=path)
    return {"domains": found}


OPERATIONS: Mapping[str, Callable[..., Any]] = {"find_folder_volumes": find_folder_volumes}


def _volumes(domain: Path, disk_type: str, description: str) -> dict[str, Any]:
    volumes, untold = [], []
    for image in file_domain.list_images(domain):
        for volume in file_domain.list_volumes(domain, image):
            file = domain / "images" / image / volume
            try:
                told = file_domain.read_volume_metadata(file)
            except (BadInput, EnvironmentFault) as error:
                untold.append(str(error))
                continue
            if told["DISKTYPE"] == disk_type or told["DESCRIPTION"] == description:
                volumes.append([image, volume, str(file)])
    return {"path": str(domain), "volumes": volumes, "untold": untold}

# SPDX-License-Identifier: Apache-2.0
"""A host's root: this machine's root folder, with what the host writes on top of it.

The upper layer is on the lab's tmpfs, as a layer of an overlay can't be inside of another one. It
outlives the host's power, as a disk does. Folders that are this machine's own business (the
checkout, its units, its journal) are empty in it: an upper folder that is marked opaque hides the
lower one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.tools import must, unmount

LAYERS = ("upper", "work", "root")


def make_root(
    folder: Path, files: Mapping[str, str], links: Mapping[str, str], hidden: Iterable[str]
) -> Path:
    """Make layers in `folder` with these files and links, mount them, and return the root.

    `hidden` are folders of this machine that are empty in it. Raises LabError, OSError.
    """
    for name in LAYERS:
        (folder / name).mkdir(parents=True)
    upper = folder / "upper"
    for name in hidden:
        hide(upper / name)
    for name, text in files.items():
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in links.items():
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    root = folder / "root"
    layers = f"lowerdir=/,upperdir={upper},workdir={folder / 'work'}"
    must(["mount", "-t", "overlay", "ha-lab-root", "-o", layers, str(root)])
    return root


def hide(upper: Path) -> None:
    """Make an empty folder of this one, whatever the lower layer has there. Before the mount."""
    upper.mkdir(parents=True, exist_ok=True)
    os.setxattr(upper, "trusted.overlay.opaque", b"y")


def take_root(folder: Path) -> None:
    """Unmount a root; what the host has written stays in `folder`."""
    unmount(folder / "root")

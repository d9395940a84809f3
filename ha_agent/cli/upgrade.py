# SPDX-License-Identifier: Apache-2.0
"""`ha-agent upgrade` and `ha-agent downgrade`: from the predecessor to us, and back.

    ha-agent upgrade    [--dry-run] [--accept CODE]...
    ha-agent downgrade  [--dry-run] [--force FILE]... [--keep FILE]...

The engine VM is not stopped by either. Each step is shown as it is done. A run that was ended, at
any step and however, is gone on with by the same command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.config import layers

if TYPE_CHECKING:
    from ha_agent.setup.upgrade.upgrading import Asked


def add(verbs: Verbs) -> None:
    """Add `upgrade` and `downgrade`."""
    upgrade = verbs.add(
        "upgrade", "make a host of the predecessor, or of oVirt 3.5, one of ours", _upgrade
    )
    upgrade.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="CODE",
        help="take the engine VM's definition although the guard refuses it for this",
    )
    downgrade = verbs.add("downgrade", "put back what `upgrade` has changed here", _downgrade)
    for name, help_text in (
        ("--force", "put this file back although somebody has changed it since"),
        ("--keep", "leave this file as it is"),
    ):
        downgrade.add_argument(
            name, action="append", default=[], metavar="FILE", help=f"{help_text}; may be repeated"
        )
    for parser in (upgrade, downgrade):
        parser.add_argument("--dry-run", action="store_true", help="only look, and print the plan")


def _say(line: str) -> None:
    print(printable(line), flush=True)


def _upgrade(command: Command) -> int:
    # Imported here: asyncio and VDSM's client would cost every other command 50 ms.
    from ha_agent import interruptible
    from ha_agent.setup.upgrade import upgrading
    from ha_agent.setup.upgrade.predecessor_host import HostKind

    was = interruptible.run(upgrading.upgrade(_asked(command)))
    if not command.arguments.dry_run and was is not HostKind.OURS:
        _say("this host is ours; `ha-agent downgrade` goes back")
    return DONE


def _downgrade(command: Command) -> int:
    from ha_agent import interruptible
    from ha_agent.setup.upgrade import upgrading

    interruptible.run(upgrading.downgrade(_asked(command)))
    if not command.arguments.dry_run:
        _say("this host is the predecessor's again")
    return DONE


def _asked(command: Command) -> Asked:
    from ha_agent.setup.own_host import OwnFiles
    from ha_agent.setup.services import Systemctl
    from ha_agent.setup.upgrade.upgrading import Asked

    arguments = command.arguments
    given: Sequence[Path] = [arguments.config] if arguments.config else []
    root = Path(os.environ.get(layers.ROOT_VARIABLE) or "/")
    return Asked(
        files=OwnFiles(root, given, os.environ),
        say=_say,
        services=Systemctl(),
        dry_run=arguments.dry_run,
        accepted=tuple(getattr(arguments, "accept", ())),
        force=tuple(getattr(arguments, "force", ())),
        keep=tuple(getattr(arguments, "keep", ())),
    )

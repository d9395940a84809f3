# SPDX-License-Identifier: Apache-2.0
"""`ha-agent version` and `ha-agent config`: what runs, and with which values.

ha-agent version                    this program, the broker that runs, and what that offers
ha-agent config show                the configuration as the files have it now
ha-agent config show --running      as the broker has it that runs; it may be older than the files
ha-agent config show --predecessor  each key of the predecessor's files, and its use
ha-agent config check               whether it can be used: every fault, and what to look at
"""

from __future__ import annotations

import sys

from ha_agent import __version__
from ha_agent.cli.command import DONE, Command, Verbs, add_timeout
from ha_agent.cli.ovf import printable
from ha_agent.config import layers
from ha_agent.config.layers import Shown
from ha_agent.errors import BadInput


def add(verbs: Verbs) -> None:
    """Add both."""
    verbs.asking("version", "what runs here, and what it offers", _version)
    settings = verbs.add("config", "the configuration in use", _config)
    settings.add_argument(
        "what",
        choices=("show", "check"),
        help="show: print every value with its origin; check: print every fault",
    )
    which = settings.add_mutually_exclusive_group()
    which.add_argument(
        "--running", action="store_true", help="as the broker has it, not as the files have it"
    )
    which.add_argument(
        "--predecessor",
        action="store_true",
        help="every key of the predecessor's files, and what it is used for",
    )
    add_timeout(settings)


def _version(command: Command) -> int:
    print(f"ha-agent {__version__}", flush=True)
    told = command.ask_map("version")
    print(printable(f"broker {told.get('version')}, verbs of version {told.get('api_version')}"))
    for name in ("features", "verbs"):
        words = told.get(name)
        print(
            printable(f"{name}: {', '.join(map(str, words if isinstance(words, list) else []))}")
        )
    print(printable(f"connections: {told.get('connections')}"))
    return DONE


def _config(command: Command) -> int:
    if command.arguments.what == "check":
        return _check(command)
    if command.arguments.predecessor:
        for line in layers.predecessor_text(command.settings).splitlines():
            print(printable(line))
        return DONE
    if not command.arguments.running:
        sys.stdout.write(layers.show(command.settings))
        return DONE
    told = command.ask_map("config").get("values")
    try:
        values = [Shown(**value) for value in told or ()]
    except TypeError as error:
        raise BadInput("not values with their origin", where="broker.config.values") from error
    sys.stdout.write(layers.text_of(values))
    return DONE


def _check(command: Command) -> int:
    # With faults there are no settings, and the exception lists them all.
    settings = command.settings
    for note in settings.notes:
        print(printable(f"! {note}"))
    read = [str(file) for file in settings.files if file.exists()]
    print(printable(f"the configuration can be used; it is from {', '.join(read)}"))
    return DONE

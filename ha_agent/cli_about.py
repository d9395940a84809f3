# SPDX-License-Identifier: Apache-2.0
"""`ha-agent version` and `ha-agent config show`: what runs, and with which values.

ha-agent version                this program, the broker that runs, and what that offers
ha-agent config show            the configuration as the files have it now
ha-agent config show --running  as the broker has it that runs; it may be older than the files
"""

from __future__ import annotations

import sys

from ha_agent import __version__, config
from ha_agent.cli_command import DONE, Command, Verbs, add_timeout
from ha_agent.cli_ovf import printable
from ha_agent.config import Shown
from ha_agent.errors import BadInput


def add(verbs: Verbs) -> None:
    """Add both."""
    verbs.asking("version", "what runs here, and what it offers", _version)
    settings = verbs.add("config", "the configuration in use", _config_show)
    settings.add_argument("what", choices=("show",), help="print every value with its origin")
    settings.add_argument(
        "--running", action="store_true", help="as the broker has it, not as the files have it"
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


def _config_show(command: Command) -> int:
    if not command.arguments.running:
        sys.stdout.write(config.show(command.settings))
        return DONE
    told = command.ask_map("config").get("values")
    try:
        values = [Shown(**value) for value in told or ()]
    except TypeError as error:
        raise BadInput("not values with their origin", where="broker.config.values") from error
    sys.stdout.write(config.text_of(values))
    return DONE

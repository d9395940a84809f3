# SPDX-License-Identifier: Apache-2.0
"""Where the broker's socket is and who this host is, out of ha-agent's own configuration.

Of its layers (docs/predecessor-files.md of ha-agent) those count here that may say so; each
overrides the ones above it:

    defaults                                        socket in /run/ha-agent, no host id
    /etc/ovirt-hosted-engine/hosted-engine.conf     host_id; ha_agent_host_run_dir,
                                                    ha_agent_broker_socket
    /etc/ha-agent/ha-agent.conf                     [host] id, run_dir; [broker] socket
    /etc/ha-agent/ha-agent.conf.d/*.conf            the same, sorted by name

HA_AGENT_CONFIG in the environment names another ha-agent.conf. A test of ha-agent's holds this
against the daemons' own reader. What is wrong in the files is for the daemons to tell: here a line
that says nothing is passed over. A file that may not be read is an OSError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

HOSTED_ENGINE_CONF = "/etc/ovirt-hosted-engine/hosted-engine.conf"
HA_AGENT_CONF = "/etc/ha-agent/ha-agent.conf"
PATH_VARIABLE = "HA_AGENT_CONFIG"
_RUN_DIR = "/run/ha-agent"
_MAX_BYTES = 1 << 20
_OWN = {"host.run_dir": "ha_agent_host_run_dir", "broker.socket": "ha_agent_broker_socket"}


class Settings(NamedTuple):
    """`host_id` None: this host is no host of a hosted engine, or not yet."""

    socket: str = f"{_RUN_DIR}/broker.socket"
    host_id: Optional[int] = None


def read_settings(
    environ: Optional[Mapping[str, str]] = None, hosted_engine_conf: str = HOSTED_ENGINE_CONF
) -> Settings:
    """Read the files. Raises OSError for one that is there and may not be read."""
    environ = os.environ if environ is None else environ
    values: dict[str, str] = {}
    pairs = read_pairs(hosted_engine_conf)
    if "host_id" in pairs:
        values["host.id"] = pairs["host_id"]
    values.update({key: pairs[name] for key, name in _OWN.items() if name in pairs})
    main = environ.get(PATH_VARIABLE) or HA_AGENT_CONF
    for path in (main, *_drop_ins(f"{main}.d")):
        values.update(_ini(path))
    run_dir = values.get("host.run_dir") or _RUN_DIR
    host_id = values.get("host.id", "")
    return Settings(
        values.get("broker.socket") or os.path.join(run_dir, "broker.socket"),
        int(host_id) if host_id.isdecimal() and int(host_id) > 0 else None,
    )


def read_pairs(path: str) -> dict[str, str]:
    """Return the pairs of a hosted-engine.conf, {} where there is none. Raises OSError."""
    pairs = {}
    for line in _lines(path):
        key, equals, value = line.partition("=")
        if equals:
            pairs[key.strip()] = value.strip()
    return pairs


def _ini(path: str) -> dict[str, str]:
    values, section = {}, ""
    for line in _lines(path):
        key, equals, value = line.partition("=")
        if line.startswith("["):
            section = line[1:-1].strip()
        elif equals:
            values[f"{section}.{key.strip()}"] = value.strip()
    return values


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8-sig", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    for raw in text.split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            yield line


def _drop_ins(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    wanted = (name for name in names if name.endswith(".conf") and not name.startswith("."))
    return [os.path.join(folder, name) for name in sorted(wanted)]

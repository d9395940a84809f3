# SPDX-License-Identifier: Apache-2.0
"""Where the broker's socket is and who this host is, out of ha-agent's own configuration.

Of its layers (docs/predecessor-files.md of ha-agent) those count here that may say so; each
overrides the ones above it:

    defaults                                        socket in /run/ha-agent, no host id
    /etc/ovirt-hosted-engine/hosted-engine.conf     host_id; ha_agent_host_run_dir,
                                                    ha_agent_broker_socket
    /etc/ha-agent/ha-agent.conf                     [host] id, run_dir; [broker] socket
    /etc/ha-agent/ha-agent.conf.d/*.conf            the same, sorted by name

[storage] hosted_engine_conf in ha-agent.conf names another hosted-engine.conf; set to nothing,
none is read. HA_AGENT_CONFIG in the environment names another ha-agent.conf, and with
HA_AGENT_HOST_ROOT the files of the defaults are looked for below that directory. A test of
ha-agent's holds this against the daemons' own reader. What is wrong in the files is for the
daemons to tell: here a line that says nothing is passed over. A file that may not be read is an
OSError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

HOSTED_ENGINE_CONF = "/etc/ovirt-hosted-engine/hosted-engine.conf"
HA_AGENT_CONF = "/etc/ha-agent/ha-agent.conf"
PATH_VARIABLE = "HA_AGENT_CONFIG"
ROOT_VARIABLE = "HA_AGENT_HOST_ROOT"
_RUN_DIR = "/run/ha-agent"
_MAX_BYTES = 1 << 20
_OWN = {"host.run_dir": "ha_agent_host_run_dir", "broker.socket": "ha_agent_broker_socket"}


class Settings(NamedTuple):
    """`host_id` None: this host is no host of a hosted engine, or not yet."""

    socket: str = f"{_RUN_DIR}/broker.socket"
    host_id: Optional[int] = None


def read_settings(environ: Optional[Mapping[str, str]] = None) -> Settings:
    """Read the files. Raises OSError for one that is there and may not be read."""
    environ = os.environ if environ is None else environ
    root = environ.get(ROOT_VARIABLE) or "/"
    main = environ.get(PATH_VARIABLE) or _below(root, HA_AGENT_CONF)
    own: dict[str, str] = {}
    for path in (main, *_drop_ins(f"{main}.d")):
        own.update(_ini(path))
    theirs = own.get("storage.hosted_engine_conf", _below(root, HOSTED_ENGINE_CONF))
    pairs = read_pairs(theirs) if theirs else {}
    values: dict[str, str] = {}
    if "host_id" in pairs:
        values["host.id"] = pairs["host_id"]
    # "None" is no value there: set-up wrote that for what it did not have.
    given = {key: pairs.get(name, "") for key, name in _OWN.items()}
    values.update({key: value for key, value in given.items() if value not in ("", "None")})
    values.update(own)
    run_dir = values.get("host.run_dir") or _RUN_DIR
    host_id = values.get("host.id", "")
    return Settings(
        values.get("broker.socket") or os.path.join(run_dir, "broker.socket"),
        int(host_id) if host_id.isdecimal() and int(host_id) > 0 else None,
    )


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


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

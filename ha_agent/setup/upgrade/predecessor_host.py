# SPDX-License-Identifier: Apache-2.0
"""What kind of hosted-engine host this is, with the evidence in sentences. It reads only.

    kind          what is there
    NOT_A_HOST    no hosted-engine.conf, or one without the engine VM's id
    OLD           3.5's: hosted-engine.conf without conf_volume_UUID and conf_image_UUID, or with a
                  storage pool of its own (spUUID); the VM's definition is a local vm.conf
    PREDECESSOR   3.6 to 4.5: the configuration is in a volume (HECI), spUUID is blank
    HALF_WAY      an upgrade of ours was begun here and has not reached its end
    OURS          our units are enabled, the predecessor's are not, hosted-engine.conf has our keys

Which it is, is read off the files and units; what a backup of ours says was here before counts
only for the kind that a half-way host was (facts/ovf-and-volumes.md, 3 and 4.1).

Files of a host, below its root:

    etc/ovirt-hosted-engine/            hosted-engine.conf, answers.conf; of 3.5 vm.conf
    etc/ovirt-hosted-engine-ha/         agent.conf; of 3.5 broker.conf
    var/lib/ovirt-hosted-engine-ha/     ha.conf, broker.conf
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS, UnitState

HOSTED_ENGINE_CONF = "etc/ovirt-hosted-engine/hosted-engine.conf"
ANSWERS_CONF = "etc/ovirt-hosted-engine/answers.conf"
VM_CONF = "etc/ovirt-hosted-engine/vm.conf"
OLD_BROKER_CONF = "etc/ovirt-hosted-engine-ha/broker.conf"
BROKER_CONF = "var/lib/ovirt-hosted-engine-ha/broker.conf"
AGENT_CONF = "etc/ovirt-hosted-engine-ha/agent.conf"
HA_CONF = "var/lib/ovirt-hosted-engine-ha/ha.conf"
FILES = (
    HOSTED_ENGINE_CONF, ANSWERS_CONF, VM_CONF, OLD_BROKER_CONF, BROKER_CONF, AGENT_CONF, HA_CONF,
)  # fmt: skip
BLANK_POOL = "00000000-0000-0000-0000-000000000000"
BACKEND_KEY = "ha_agent_lease_backend"

_MAX_BYTES = 1 << 20
_CONF_KEYS = ("conf_volume_UUID", "conf_image_UUID")


class HostKind(enum.Enum):
    """The kinds of the table above; the value is how an operator reads it."""

    NOT_A_HOST = "no hosted-engine host"
    OLD = "a hosted-engine host of oVirt 3.5"
    PREDECESSOR = "a host of the predecessor, ovirt-hosted-engine-ha"
    HALF_WAY = "a host whose upgrade was begun and not finished"
    OURS = "a host of ha-agent"


@dataclass(frozen=True)
class Detection:
    """The kind, and why: a sentence for each thing that was looked at."""

    kind: HostKind
    evidence: tuple[str, ...]
    conf: Optional[HostedEngineConf]
    host_id: Optional[int]


def read_files(root: Path, names: tuple[str, ...] = FILES) -> dict[str, bytes]:
    """Return the files of `names` that are there, by name. Raises EnvironmentFault, BadInput."""
    found = {}
    for name in names:
        path = root / name
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise EnvironmentFault(f"can't read {path}: {error.strerror}") from error
        if len(data) > _MAX_BYTES:
            raise BadInput("is larger than 1 MiB: no configuration file", where=str(path))
        found[name] = data
    return found


def detect(
    files: Mapping[str, bytes],
    units: Mapping[str, UnitState],
    *,
    root: Path,
    upgrade_begun: str = "",
) -> Detection:
    """Judge what was read. `upgrade_begun` names the backup of an upgrade that is in force.

    Raises BadInput with file and line for a hosted-engine.conf that can't be one.
    """
    conf, evidence = _conf(files, root)
    evidence += [units[name].text for name in (*PREDECESSOR_UNITS, *OUR_UNITS) if name in units]
    if upgrade_begun:
        evidence.append(f"an upgrade was begun here: {upgrade_begun} is its backup")
    host_id = None if conf is None else host_id_of(conf)
    kind = _kind(conf, units, evidence, upgrade_begun)
    return Detection(kind, tuple(evidence), conf, host_id)


def era_of(conf: HostedEngineConf) -> HostKind:
    """Return OLD or PREDECESSOR: which of them wrote this hosted-engine.conf."""
    is_old = any(key not in conf.values for key in _CONF_KEYS) or _pool(conf) != BLANK_POOL
    return HostKind.OLD if is_old else HostKind.PREDECESSOR


def _conf(files: Mapping[str, bytes], root: Path) -> tuple[Optional[HostedEngineConf], list[str]]:
    path = root / HOSTED_ENGINE_CONF
    data = files.get(HOSTED_ENGINE_CONF)
    if data is None:
        return None, [f"there is no {path}"]
    conf = parse_conf(data, str(path))
    if "vmid" not in conf.values:
        return None, [f"{path} names no engine VM (vmid)"]
    evidence = [f"{path} is of engine VM {conf.values['vmid']}"]
    missing = [key for key in _CONF_KEYS if key not in conf.values]
    evidence.append(
        f"it names no configuration volume ({', '.join(missing)})"
        if missing
        else f"it names configuration volume {conf.values[_CONF_KEYS[0]]}"
    )
    if _pool(conf) != BLANK_POOL:
        evidence.append(f"it has a storage pool of its own (spUUID {_pool(conf)}), as 3.5 made it")
    if BACKEND_KEY in conf.values:
        evidence.append(f"it has our key {BACKEND_KEY}")
    local = [name for name in (VM_CONF, OLD_BROKER_CONF) if name in files]
    evidence += [f"there is {root / name}, where 3.5 kept it" for name in local]
    return conf, evidence


def parse_conf(data: bytes, where: str) -> HostedEngineConf:
    """Read a hosted-engine.conf. Raises BadInput with `where` and the line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput("is not UTF-8 text", where=where, offset=line, unit="line") from None
    return hosted_engine_conf.parse(text, where)


def _pool(conf: HostedEngineConf) -> str:
    return conf.values.get("spUUID", BLANK_POOL).lower()


def host_id_of(conf: HostedEngineConf) -> int:
    """Return this host's id. Raises BadInput with file and line."""
    text = conf.text("host_id")
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 2000:
        raise conf.fault("host_id", f"{text[:20]!r} is no host id, a number from 1 to 2000")
    return int(text)


def _kind(
    conf: Optional[HostedEngineConf],
    units: Mapping[str, UnitState],
    evidence: list[str],
    upgrade_begun: str,
) -> HostKind:
    if conf is None:
        return HostKind.HALF_WAY if upgrade_begun else HostKind.NOT_A_HOST
    theirs = [unit for name, unit in units.items() if name in PREDECESSOR_UNITS]
    theirs_left = any(
        unit.exists and not unit.is_other and (unit.running or unit.enabled) for unit in theirs
    )
    ours = [units[name] for name in OUR_UNITS if name in units]
    is_switched = bool(ours) and all(unit.enabled for unit in ours) and not theirs_left
    era = era_of(conf)
    if is_switched and BACKEND_KEY in conf.values and era is not HostKind.OLD:
        return HostKind.OURS
    if upgrade_begun:
        evidence.append("not all of the upgrade is done")
        return HostKind.HALF_WAY
    if is_switched or BACKEND_KEY in conf.values:
        # Our keys are also on a host that the engine has added to a cluster of ours: the
        # predecessor's set-up copies the shared file as it is.
        evidence.append("part of this is ours, and there is no backup of an upgrade")
        at_work = any(unit.exists and (unit.running or unit.enabled) for unit in ours)
        are_theirs = any(unit.exists and not unit.is_other for unit in theirs) and not at_work
        return era if theirs_left or are_theirs else HostKind.OURS
    return era

# SPDX-License-Identifier: Apache-2.0
"""Every key of the predecessor's files: what of ours it becomes, who reads it, or why nobody.

One row a key; docs/predecessor-files.md is made from them. config.py puts what the rows become
below everything that is said in our own words, so what ha-agent.conf says counts. Pure.

Keys `ha_agent_<section>_<key>` in hosted-engine.conf are in our own words: they are settings of
ha-agent.conf that all hosts share, and stand between both. The predecessor and its tools leave
them alone. A "-" in a section's name is a "_" in the key, and blanks can't be in a value, as
the shell sources the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ha_agent.compat.ini_conf import IniConf
from ha_agent.compat.legacy_values import (
    Make,
    Pairs,
    cpu_load_leave,
    domain_path,
    domain_type,
    health_url,
    lower_case,
    mail_to,
    network_test_of_gateway,
    of_tcp,
    ping_address,
    same,
    vm_conf_path,
)
from ha_agent.errors import BadInput

__all__ = [
    "AGENT",
    "BROKER",
    "FILES",
    "HA",
    "HOSTED_ENGINE",
    "KEYS",
    "OWN_PREFIX",
    "LegacyKey",
    "Said",
    "Use",
    "own_settings",
    "pairs_of_ini",
    "translated",
    "uses",
]

HOSTED_ENGINE, AGENT, BROKER, HA = "hosted-engine.conf", "agent.conf", "broker.conf", "ha.conf"
# Where each is; of two places the first that there is counts.
FILES: Mapping[str, tuple[str, ...]] = {
    HOSTED_ENGINE: ("/etc/ovirt-hosted-engine/hosted-engine.conf",),
    AGENT: ("/etc/ovirt-hosted-engine-ha/agent.conf",),
    BROKER: (
        "/var/lib/ovirt-hosted-engine-ha/broker.conf",
        "/etc/ovirt-hosted-engine-ha/broker.conf",
    ),
    HA: ("/var/lib/ovirt-hosted-engine-ha/ha.conf",),
}
OWN_PREFIX = "ha_agent_"
# What one host says of itself: in a file that all hosts copy it would be said of all of them.
_NOT_SHARED = {
    "host.id": "host_id says it",
    "host.name": "each host has its own",
    "storage.hosted_engine_conf": "it would be about the file that it stands in",
}
# Agent and broker write hosted-engine.conf; ha-vdsm is root, and runs the program that it is told.
_ROOTS = "vdsm-server."


@dataclass(frozen=True)
class LegacyKey:
    """One key. `becomes`: keys of ours, "section.key", and how each is made. `what`: how it is
    used, or why it is not; of a key that becomes something a remark, or nothing."""

    file: str
    name: str
    becomes: tuple[tuple[str, Make], ...] = ()
    what: str = ""
    used: bool = True


def _row(file: str, name: str, key: str, what: str = "") -> LegacyKey:
    return LegacyKey(file, name, ((key, same(name)),), what)


def _read(name: str, what: str) -> LegacyKey:
    return LegacyKey(HOSTED_ENGINE, name, (), what)


def _unused(file: str, name: str, why: str) -> LegacyKey:
    return LegacyKey(file, name, (), why, used=False)


_CONNECT = "the broker connects the storage with it, unless [storage] connection does"
_ISCSI = f"iSCSI: {_CONNECT}"
_TAKEN_OVER = "into <host.state_dir>/ha.conf, once, where that is not there; then that counts"
_SETUP = "`ha-agent upgrade` looks for the volume by it; the broker knows it by its description"

KEYS: tuple[LegacyKey, ...] = (
    LegacyKey(
        HOSTED_ENGINE, "fqdn", (("engine.health_url", health_url),), "the health page's URL"
    ),
    _row(HOSTED_ENGINE, "vmid", "engine.vm_uuid"),
    _row(HOSTED_ENGINE, "host_id", "host.id"),
    LegacyKey(
        HOSTED_ENGINE, "domainType", (("storage.domain_type", domain_type),), "with nfs_version"
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "sdUUID",
        (("storage.domain_uuid", same("sdUUID")), ("storage.domain_path", domain_path)),
        "the path with domainType and storage: where VDSM mounts the domain",
    ),
    _row(HOSTED_ENGINE, "metadata_image_UUID", "storage.status_image"),
    _row(HOSTED_ENGINE, "metadata_volume_UUID", "storage.status_volume"),
    _row(HOSTED_ENGINE, "connectionUUID", "storage.connection_uuid"),
    LegacyKey(
        HOSTED_ENGINE,
        "conf",
        (("definition.vm_conf_path", vm_conf_path),),
        "below /run only; elsewhere it is a vm.conf of version 3.5: see `ha-agent upgrade`",
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "vdsm_use_ssl",
        (("vdsm.ssl", lower_case("vdsm_use_ssl")),),
        "VDSM's own configuration counts more",
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "network_test",
        (("network.test", same("network_test")),),
        "without it: ping",
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "gateway",
        (("network.test", network_test_of_gateway), ("network.address", ping_address)),
        "the address with network_test=ping, or without network_test",
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "tcp_t_address",
        (("network.address", of_tcp("tcp_t_address")),),
        "with network_test=tcp",
    ),
    LegacyKey(
        HOSTED_ENGINE,
        "tcp_t_port",
        (("network.port", of_tcp("tcp_t_port")),),
        "with network_test=tcp",
    ),
    _row(HOSTED_ENGINE, "bridge", "network.bridge"),
    _read("storage", f"{_CONNECT}; also for [storage] domain_path"),
    _read("nfs_version", f"{_CONNECT}; also for [storage] domain_type"),
    _row(HOSTED_ENGINE, "mnt_options", "storage.mount_options", "locks that stay local are seen"),
    _read("iqn", _ISCSI),
    _read("portal", _ISCSI),
    _read("port", _ISCSI),
    _read("user", _ISCSI),
    _read("password", _ISCSI),
    _read("configured", "False: nothing starts here, as the host was taken out of the cluster"),
    _read("conf_image_UUID", _SETUP),
    _read("conf_volume_UUID", _SETUP),
    _read("lockspace_image_UUID", _SETUP),
    _read("lockspace_volume_UUID", _SETUP),
    _read("vm_disk_id", "`ha-agent upgrade`: a vm.conf's disk; else the OVF names the disks"),
    _read("vm_disk_vol_id", "`ha-agent upgrade`: a vm.conf's disk; else the OVF names the disks"),
    _read("spUUID", "`ha-agent upgrade`: anything but zeros is of a host of version 3.5"),
    _unused(HOSTED_ENGINE, "console", "the OVF says which console the VM has"),
    _unused(HOSTED_ENGINE, "ca_cert", "of a SPICE console, by the predecessor's set-up only"),
    _unused(HOSTED_ENGINE, "ca_subject", "of a SPICE console, by the predecessor's set-up only"),
    _unused(HOSTED_ENGINE, "iscsi_paths_blacklist", "paths to the target are VDSM's business"),
    _row(AGENT, "score.base-score", "score.base"),
    _row(AGENT, "score.gateway-score-penalty", "score.network", "the older name"),
    _row(AGENT, "score.network-score-penalty", "score.network", "counts more than the older name"),
    _row(AGENT, "score.not-uptodate-config-penalty", "score.stale_definition"),
    _row(AGENT, "score.mgmt-bridge-score-penalty", "score.bridge"),
    _row(AGENT, "score.free-memory-score-penalty", "score.memory"),
    _row(AGENT, "score.cpu-load-score-penalty", "score.cpu_load"),
    _row(AGENT, "score.engine-retry-score-penalty", "score.retry"),
    LegacyKey(
        AGENT,
        "score.cpu-load-penalty-min",
        (
            ("score.cpu_load_low", same("score.cpu-load-penalty-min")),
            ("score.cpu_load_leave", cpu_load_leave),
        ),
        "cpu_load_leave too, where this is below its default",
    ),
    _row(AGENT, "score.cpu-load-penalty-max", "score.cpu_load_high"),
    _row(BROKER, "email.smtp-server", "notify.smtp_host"),
    _row(BROKER, "email.smtp-port", "notify.smtp_port"),
    _row(BROKER, "email.source-email", "notify.mail_from"),
    LegacyKey(
        BROKER,
        "email.destination-emails",
        (("notify.mail_to", mail_to),),
        "where notify.state_transition is there: else nobody was told",
    ),
    _unused(BROKER, "email.smtp-timeout", "[notify] deadline_seconds is for a whole delivery"),
    LegacyKey(
        BROKER,
        "notify.state_transition",
        (),
        "that it is there turns mail on; not what it matches, as we tell of incidents and not of"
        " transitions: [notify] severity and muted choose",
    ),
    LegacyKey(HA, "local_maintenance", (), _TAKEN_OVER),
    LegacyKey(HA, "local_maintenance_manual", (), _TAKEN_OVER),
)


@dataclass(frozen=True)
class Said:
    """A file says that `key`, "section.key" of ours, has `text`; `name` is what it calls it.

    `where` is "file:line". `fault` is what is wrong there, if anything; there is no text then.
    """

    key: str
    text: str
    name: str
    where: str
    fault: str = ""


@dataclass(frozen=True)
class Use:
    """A key that stands in a file, and what is done with it. `becomes`: our keys that it says."""

    file: str
    line: int
    name: str
    becomes: tuple[str, ...]
    what: str
    known: bool


def pairs_of_ini(conf: IniConf) -> Pairs:
    """Return a broker.conf or agent.conf as pairs, by "section.key"."""
    named = {f"{section}.{key}": value for (section, key), value in conf.values.items()}
    return Pairs(
        conf.where,
        {name: value.text for name, value in named.items() if value.text},
        {name: value.line for name, value in named.items()},
    )


def translated(file: str, pairs: Pairs) -> Iterator[Said]:
    """Yield what `file`, one of FILES, says in our words; the last counts for a key."""
    for row in KEYS:
        if row.file != file or row.name not in pairs.values:
            continue
        where = f"{pairs.where}:{pairs.lines[row.name]}"
        for key, make in row.becomes:
            try:
                text = make(pairs)
            except BadInput as fault:
                # It may be about another line: the type of an NFS domain depends on its version.
                if fault.offset is not None:
                    where = f"{pairs.where}:{fault.offset}"
                yield Said(key, "", row.name, where, fault.what)
                continue
            if text is not None:
                yield Said(key, text, row.name, where)


def own_settings(pairs: Pairs, known: Iterable[str]) -> Iterator[Said]:
    """Yield the settings in our own words of a hosted-engine.conf; `known`: all "section.key".

    A blank value is one, as in ha-agent.conf. What is none of ours is a fault: a setting of the
    lease that is misspelt would be another one on this host than on the others.
    """
    names = {OWN_PREFIX + key.replace("-", "_").replace(".", "_"): key for key in known}
    for name, line in pairs.lines.items():
        if not name.startswith(OWN_PREFIX):
            continue
        key, where = names.get(name, ""), f"{pairs.where}:{line}"
        if not key:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
            told = f"; did you mean {near[0]}?" if near else ""
            yield Said("", "", name, where, f"unknown key {name[:80]!r}{told}")
        elif key in _NOT_SHARED:
            told = f"can't be in a file that all hosts share: {_NOT_SHARED[key]}"
            yield Said("", "", name, where, f"{name} {told}")
        elif key.startswith(_ROOTS):
            told = "is for ha-agent.conf only: ha-vdsm is root, and this file is the daemons'"
            yield Said("", "", name, where, f"{name} {told}")
        else:
            yield Said(key, pairs.values.get(name, ""), name, where)


def uses(file: str, pairs: Pairs, said: Iterable[Said]) -> Iterator[Use]:
    """Yield every key of a file, in its order; `said` is what the file says in our words."""
    rows = {row.name: row for row in KEYS if row.file == file}
    becomes: dict[str, tuple[str, ...]] = {}
    for one in said:
        becomes[one.name] = (*becomes.get(one.name, ()), *([one.key] if one.key else []))
    for name, line in pairs.lines.items():
        row, keys = rows.get(name), becomes.get(name, ())
        if row is not None:
            what = row.what if row.used else f"not used: {row.what}"
            if row.used and name not in pairs.values:
                what = "no value"
        elif name.startswith(OWN_PREFIX):
            what = ""
        else:
            near = difflib.get_close_matches(name, rows, n=1, cutoff=0.7)
            what = "not known, and not used" + (f"; did you mean {near[0]}?" if near else "")
        known = row is not None or name.startswith(OWN_PREFIX)
        yield Use(pairs.where, line, name, keys, what, known)

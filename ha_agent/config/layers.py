# SPDX-License-Identifier: Apache-2.0
"""Read the configuration: files in, one frozen Config or one error with every fault out.

A process root calls `load` once and passes the sections down (DESIGN.md, rule 6); nothing
else in the package reads our configuration or the environment. A reload is another
`load`, whose result replaces the old Config between two ticks.

Format of ha-agent.conf, UTF-8, at most 1 MiB:

    # a comment has a line of its own; a '#' further right belongs to the value
    [section]
    key = value

Blanks around names and values don't count. `<file>.d/*.conf`, sorted by name, are read after
the file; what is read later overrides, key by key. A key twice in one file is a fault. What
ha-agent.conf does not say, the layers below it may: config/legacy.py has their order. Where the
predecessor's hosted-engine.conf is, /etc/ha-agent/ha-agent.conf need not be.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, NamedTuple, Optional

from ha_agent.config import file as config_file
from ha_agent.config import legacy as config_legacy
from ha_agent.config import vdsm as config_vdsm
from ha_agent.config.file import Entry, Fault
from ha_agent.config.kinds import ADDRESS
from ha_agent.config.legacy import HOSTED_ENGINE_CONF, Predecessor
from ha_agent.config.relations import RELATIONS
from ha_agent.config.schema import SECTIONS, Config
from ha_agent.config.text import (
    MASK,
    Shown,
    predecessor_text,
    show,
    shown,
    text_of,
    without_secret,
)
from ha_agent.errors import BadInput

__all__ = [
    "DEFAULT_PATH",
    "MASK",
    "NOT_SET",
    "PATH_VARIABLE",
    "ROOT_VARIABLE",
    "Config",
    "ConfigError",
    "Fault",
    "Shown",
    "complete",
    "load",
    "predecessor_text",
    "show",
    "shown",
    "text_of",
]

DEFAULT_PATH = Path("/etc/ha-agent/ha-agent.conf")
PATH_VARIABLE = "HA_AGENT_CONFIG"
# The demo's and the tests' hosts, and a host that is mounted somewhere for repair.
ROOT_VARIABLE = "HA_AGENT_HOST_ROOT"
NOT_SET = "not set"
_SET_UP = "`ha-agent deploy` sets up the first host, `ha-agent join` one more"


class ConfigError(BadInput):
    """The configuration can't be used; `faults` are all that was found, by file and line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            "\n  ".join([f"the configuration has {count}:", *(str(fault) for fault in faults)])
        )
        self.faults = tuple(faults)


def load(
    paths: Sequence[Path],
    environ: Mapping[str, str],
    *,
    host_root: Optional[Path] = None,
    not_needed: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Read the files at `paths` and the layers below them, and return the configuration.

    Without `paths`, HA_AGENT_CONFIG in `environ` names the file; without that it is
    /etc/ha-agent/ha-agent.conf, and may be absent. This default, and the files of the predecessor
    and of VDSM, are below `host_root`: by default HA_AGENT_HOST_ROOT in `environ`, or else "/".
    `not_needed` is for a program that runs on hosts that are not set up, too: it has a text for
    each key without a default, by "section.key". Where none of them is set anywhere, these stand
    in, and their origin is NOT_SET. Raises ConfigError, with every fault, for whatever is wrong;
    a file of ours that can't be read is a fault too.
    """
    root = host_root or Path(environ.get(ROOT_VARIABLE) or "/")
    named = [*paths] or [Path(name) for name in (environ.get(PATH_VARIABLE),) if name]
    read = _read_ours(named or [_below(root, DEFAULT_PATH)], may_be_absent=not named)
    legacy = _read_legacy(read, root)
    if read.absent and not legacy.there and not not_needed:
        nothing = f"neither {read.absent} nor {_below(root, HOSTED_ENGINE_CONF)} is there"
        raise ConfigError([Fault("", f"{nothing}: {_SET_UP}")])
    faults = [*read.faults, *legacy.faults]
    unread: list[str] = []
    entries = [
        *legacy.theirs,
        *config_vdsm.entries(root, unread),
        *legacy.ours,
        *read.entries,
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    _read_values(_override(entries), values, origins, faults)
    # What is missing can't be told while a file can't be read.
    if read.all_read and not legacy.damaged:
        missing = [*_fill_in(values, origins, root, not_needed)]
        # To who may not read the file with it, that is the fault.
        faults += (Fault("", told) for told in (legacy.unreadable if missing else ()))
        faults += missing
        # The packages ship a file of comments: a host that is not set up has that.
        if {"host.id", "engine.vm_uuid"}.isdisjoint(origins) and not legacy.there:
            faults.append(Fault("", f"this host is not set up: {_SET_UP}"))
        for name in config_vdsm.KEYS:
            if origins[name] == "default":
                origins[name] = "; ".join(["default", *unread])
        faults += _broken_relations(values, origins)
    files = (*legacy.files, *read.files)
    if faults:
        raise ConfigError(sorted(dict.fromkeys(faults), key=_reading_order(files)))
    sections = {
        name.replace("-", "_"): section(
            **{key.name: values[f"{name}.{key.name}"] for key in dataclasses.fields(section)}
        )
        for name, section in SECTIONS.items()
    }
    unknown = (
        f"{use.file}:{use.line}: {use.name}: {use.what}" for use in legacy.uses if not use.known
    )
    return Config(
        **sections,
        origins=origins,
        files=files,
        folders=read.folders,
        paths=tuple(paths),
        notes=(*legacy.unreadable, *unknown),
        unread=legacy.unreadable,
        predecessor=legacy.uses,
        predecessor_ha_conf=legacy.ha_conf,
    )


def complete(config: Config) -> Config:
    """Return a configuration that has all its layers, as a daemon needs it. Raises ConfigError."""
    if config.unread:
        raise ConfigError([Fault("", told) for told in config.unread])
    return config


class _Ours(NamedTuple):
    """What was read of files in ha-agent.conf's format. `absent`: the one that may be, and is."""

    entries: list[Entry]
    faults: list[Fault]
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    all_read: bool
    absent: Optional[Path]


def _read_ours(paths: Sequence[Path], *, may_be_absent: bool) -> _Ours:
    faults: list[Fault] = []
    entries: list[Entry] = []
    files: list[Path] = []
    all_read, absent = True, None
    for path in paths:
        try:
            drop_ins = config_file.drop_ins(path)
        except BadInput as error:
            faults.append(Fault("", str(error)))
            all_read, drop_ins = False, []
        for file in (path, *drop_ins):
            files.append(file)
            if may_be_absent and file == path and not path.exists():
                absent = path
                continue
            try:
                entries += config_file.parse(config_file.read_file(file), str(file), faults)
            except BadInput as error:
                faults.append(Fault("", str(error)))
                all_read = False
    folders = tuple(config_file.drop_in_folder(path) for path in paths)
    return _Ours(entries, faults, tuple(files), folders, all_read, absent)


def _read_legacy(read: _Ours, root: Path) -> Predecessor:
    """Read the predecessor's files, unless our own say that there are none."""
    named = str(_below(root, HOSTED_ENGINE_CONF))
    for entry in read.entries:
        if (entry.section, entry.key) == ("storage", "hosted_engine_conf"):
            named = entry.text
    path = Path(named)
    if not named:
        return Predecessor()
    if not path.is_absolute():
        return Predecessor()  # which is a fault by itself
    return config_legacy.read(path, root, _kinds())


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _reading_order(files: Sequence[Path]) -> Callable[[Fault], tuple[int, int]]:
    """Return the sort key of faults: by file and line; those without a line come last."""
    positions = {str(file): position for position, file in enumerate(files)}

    def place(fault: Fault) -> tuple[int, int]:
        file, _, line = fault.where.rpartition(":")
        return positions.get(file, len(files)), int(line) if line.isdigit() else 0

    return place


def _override(entries: Iterable[Entry]) -> Iterable[Entry]:
    """Return the entries without those that a later file overrides."""
    return {(entry.section, entry.key): entry for entry in entries}.values()


def _kinds() -> dict[str, dataclasses.Field[Any]]:
    """Return every key of ours by "section.key"."""
    return {
        f"{name}.{key.name}": key
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
    }


def _read_values(
    entries: Iterable[Entry],
    values: dict[str, Any],
    origins: dict[str, str],
    faults: list[Fault],
) -> None:
    """Parse the texts into `values`; a value that has a fault has an origin and no value."""
    keys = _kinds()
    for entry in entries:
        name = f"{entry.section}.{entry.key}"
        metadata = keys[name].metadata
        if not entry.text and metadata["derived"]:
            continue
        origins[name] = entry.origin
        if entry.fault:
            faults.append(Fault(entry.origin, entry.fault))
            continue
        try:
            values[name] = metadata["kind"].parse(entry.text)
        except ValueError:
            expected = metadata["kind"].expected
            given = without_secret(entry.key, entry.text)[:80].replace("\n", " ")
            faults.append(Fault(entry.origin, f"{entry.name} = {given}: expected {expected}"))


def _fill_in(
    values: dict[str, Any], origins: dict[str, str], root: Path, not_needed: Mapping[str, str]
) -> Iterator[Fault]:
    """Add defaults and what is derived from other values; yield what is missing."""
    # A host that has one of them is set up, and then it needs them all.
    stand_ins = not_needed if origins.keys().isdisjoint(not_needed) else {}
    for section, fields in SECTIONS.items():
        for key in dataclasses.fields(fields):
            name = f"{section}.{key.name}"
            if name in origins:
                continue
            if key.default is not dataclasses.MISSING:
                values[name] = key.default
            elif key.default_factory is not dataclasses.MISSING:
                values[name] = key.default_factory()
            elif name in stand_ins:
                values[name] = key.metadata["kind"].parse(stand_ins[name])
                origins[name] = NOT_SET
                continue
            elif not key.metadata["derived"]:
                expected = key.metadata["kind"].expected
                yield Fault("", f"[{section}] {key.name} is missing: expected {expected}")
                continue
            origins[name] = "default"
    if origins["storage.hosted_engine_conf"] == "default":
        values["storage.hosted_engine_conf"] = _below(root, HOSTED_ENGINE_CONF)
    for derivation in _DERIVATIONS:
        if origins[derivation.key] == "default" and all(
            name in values for name in derivation.sources
        ):
            try:
                values[derivation.key] = derivation.make(
                    *(values[name] for name in derivation.sources)
                )
            except ValueError as error:
                yield Fault("", f"{derivation.key} has no default here: {error}")


class _Derivation(NamedTuple):
    key: str
    sources: tuple[str, ...]
    make: Callable[..., Any]


def _host_name() -> str:
    name = socket.gethostname()
    try:
        return str(ADDRESS.parse(name))
    except ValueError:
        raise ValueError(f"the system's host name {name!r} is not {ADDRESS.expected}") from None


_DERIVATIONS = (
    _Derivation("host.name", (), _host_name),
    _Derivation("broker.socket", ("host.run_dir",), lambda run_dir: run_dir / "broker.socket"),
    _Derivation(
        "lease.path",
        ("storage.domain_path", "engine.vm_uuid"),
        lambda domain_path, vm_uuid: domain_path / "ha_agent" / f"{vm_uuid}.lease",
    ),
    _Derivation(
        "sanlock.path",
        ("storage.domain_path", "engine.vm_uuid"),
        lambda domain_path, vm_uuid: domain_path / "ha_agent" / f"{vm_uuid}.sanlock",
    ),
    _Derivation("vdsm-server.domain_paths", ("storage.domain_path",), lambda path: (path,)),
)


def _broken_relations(values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the relations that don't hold between values that are sound by themselves."""
    kinds = {name: key.metadata["kind"] for name, key in _kinds().items()}
    for relation in RELATIONS:
        if not all(name in values for name in relation.keys):
            continue
        if not relation.holds(*(values[name] for name in relation.keys)):
            places = [origins[name] for name in relation.keys if origins[name] != "default"]
            given = ", ".join(
                f"{key} = {without_secret(key, kinds[name].form(values[name]))}"
                for name in relation.keys
                for key in (name.split(".")[1],)
            )
            yield Fault(places[-1] if places else "", f"{relation.what} ({given})")

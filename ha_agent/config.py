# SPDX-License-Identifier: Apache-2.0
"""Read ha-agent.conf: files in, one frozen Config or one error with every fault out.

A process root calls `load` once and passes the sections down (DESIGN.md, rule 6); nothing
else in the package reads our configuration or the environment. A reload is another
`load`, whose result replaces the old Config between two ticks.

Format of a file, UTF-8, at most 1 MiB:

    # a comment has a line of its own; a '#' further right belongs to the value
    [section]
    key = value

Blanks around names and values don't count. `<file>.d/*.conf`, sorted by name, are read after
the file; what is read later overrides, key by key. A key twice in one file is a fault.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from ha_agent import config_vdsm
from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS, SanlockTimes
from ha_agent.config_kinds import ADDRESS
from ha_agent.config_relations import RELATIONS
from ha_agent.config_schema import SECTIONS, Config
from ha_agent.errors import BadInput

__all__ = [
    "DEFAULT_PATH",
    "MASK",
    "PATH_VARIABLE",
    "Config",
    "ConfigError",
    "Fault",
    "Shown",
    "load",
    "show",
    "shown",
    "text_of",
]

DEFAULT_PATH = Path("/etc/ha-agent/ha-agent.conf")
PATH_VARIABLE = "HA_AGENT_CONFIG"

# A configuration is a few kilobytes. The bound is for a path that names a device or a log.
_MAX_FILE_SIZE_BYTES = 1 << 20

# A key with one of these words in its name holds what nobody is to read over a shoulder.
_SECRET_WORDS = ("password", "secret", "token")
MASK = "(set, not shown)"


class Fault(NamedTuple):
    """One thing that is wrong; `where` is "file:line", "file", or empty if nothing is there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigError(BadInput):
    """The configuration can't be used; `faults` are all that was found, by file and line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            "\n  ".join([f"the configuration has {count}:", *(str(fault) for fault in faults)])
        )
        self.faults = tuple(faults)


class _Entry(NamedTuple):
    section: str
    key: str
    text: str
    origin: str


def load(
    paths: Sequence[Path], environ: Mapping[str, str], *, host_root: Path = Path("/")
) -> Config:
    """Read the files at `paths` and return the configuration.

    Without `paths`, HA_AGENT_CONFIG in `environ` names the file, /etc/ha-agent/ha-agent.conf
    otherwise; VDSM's own files are below `host_root` (config_vdsm.py). Raises ConfigError,
    with every fault, for whatever is wrong; a file of ours that can't be read is a fault too.
    """
    faults: list[Fault] = []
    entries: list[_Entry] = []
    files: list[Path] = []
    all_read = True
    paths = paths or [Path(environ.get(PATH_VARIABLE) or DEFAULT_PATH)]
    for path in paths:
        try:
            drop_ins = _drop_ins(path)
        except BadInput as error:
            faults.append(Fault("", str(error)))
            all_read, drop_ins = False, []
        for file in (path, *drop_ins):
            files.append(file)
            try:
                entries += _parse(_read(file), str(file), faults)
            except BadInput as error:
                faults.append(Fault("", str(error)))
                all_read = False
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    _read_values(_override(entries), values, origins, faults)
    # What is missing can't be told while a file can't be read.
    if all_read:
        faults += _fill_in(values, origins)
        faults += (Fault(*fault) for fault in config_vdsm.take(values, origins, host_root))
        faults += _broken_relations(values, origins)
    if faults:
        raise ConfigError(sorted(faults, key=_reading_order(files)))
    sections = {
        name.replace("-", "_"): section(
            **{key.name: values[f"{name}.{key.name}"] for key in dataclasses.fields(section)}
        )
        for name, section in SECTIONS.items()
    }
    folders = tuple(_drop_in_folder(path) for path in paths)
    return Config(**sections, origins=origins, files=tuple(files), folders=folders)


class Shown(NamedTuple):
    """One value as people may see it: of what is secret only whether it is set."""

    section: str
    key: str
    text: str
    origin: str


def shown(config: Config) -> list[Shown]:
    """Return every value in use with its origin, secrets masked."""
    found = []
    for name, section in SECTIONS.items():
        values = getattr(config, name.replace("-", "_"))
        for key in dataclasses.fields(section):
            text = key.metadata["kind"].form(getattr(values, key.name))
            if text and any(word in key.name.split("_") for word in _SECRET_WORDS):
                text = MASK
            origin = config.origins.get(f"{name}.{key.name}", "default")
            found.append(Shown(name, key.name, text, origin))
    return found


def show(config: Config) -> str:
    """Return the configuration as text, each value with its origin, for people."""
    lease_free = f"# a dead host's lease is free after {_host_dead_seconds(config)} s"
    return text_of(shown(config), {"sanlock": lease_free})


def text_of(values: Iterable[Shown], remarks: Optional[Mapping[str, str]] = None) -> str:
    """Return values as text, each with its origin, for people; `remarks` end their sections."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for value in values:
        pair = (f"{value.key} = {value.text}", value.origin)
        sections.setdefault(value.section, []).append(pair)
    blocks = []
    for name, pairs in sections.items():
        width = min(44, max(len(text) for text, _ in pairs))
        lines = [f"{text:<{width}}   # {origin}" for text, origin in pairs]
        if remarks and name in remarks:
            lines.append(remarks[name])
        blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _host_dead_seconds(config: Config) -> int:
    section = config.sanlock
    times = SanlockTimes(IO_TIMEOUT_SECONDS[section.profile], section.watchdog_fire_seconds)
    return times.host_dead_seconds


def _reading_order(files: Sequence[Path]) -> Callable[[Fault], tuple[int, int]]:
    """Return the sort key of faults: by file and line; those without a line come last."""
    positions = {str(file): position for position, file in enumerate(files)}

    def place(fault: Fault) -> tuple[int, int]:
        file, _, line = fault.where.rpartition(":")
        return positions.get(file, len(files)), int(line) if line.isdigit() else 0

    return place


def _drop_in_folder(path: Path) -> Path:
    return path.parent / f"{path.name}.d"


def _drop_ins(path: Path) -> list[Path]:
    folder = _drop_in_folder(path)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(folder)) from error
    # A hidden file is an editor's or a package manager's, not the administrator's.
    wanted = (name for name in names if name.endswith(".conf") and not name.startswith("."))
    return [folder / name for name in sorted(wanted)]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    if len(data) > _MAX_FILE_SIZE_BYTES:
        raise BadInput("is larger than 1 MiB: not a configuration file", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput("is not UTF-8 text", where=f"{path}:{line}") from error


def _parse(text: str, file: str, faults: list[Fault]) -> list[_Entry]:
    entries: list[_Entry] = []
    first_seen: dict[tuple[str, str], int] = {}
    section: Optional[str] = None
    for line, raw in enumerate(text.split("\n"), start=1):
        where, content = f"{file}:{line}", raw.replace("\t", " ").strip()
        if not content or content.startswith("#"):
            continue
        if not content.isprintable():
            faults.append(Fault(where, "has a control character in it"))
        elif content.startswith("["):
            section = content[1:-1].strip() if content.endswith("]") else None
            if section not in SECTIONS:
                faults.append(
                    Fault(where, f"unknown section {content}{_nearest_section(section)}")
                )
                # One fault says it all: what follows belongs to no section that we know.
                section = ""
        elif "=" not in content:
            faults.append(Fault(where, f"{content!r} is neither [section] nor key = value"))
        elif section is None:
            faults.append(Fault(where, f"{content!r} stands before any [section]"))
        elif section:
            key, value = (part.strip() for part in content.split("=", 1))
            if key not in _keys(section):
                faults.append(Fault(where, f"unknown key {key!r}{_nearest_key(section, key)}"))
            elif (section, key) in first_seen:
                first = first_seen[section, key]
                faults.append(Fault(where, f"{key} is in line {first} of [{section}] already"))
            else:
                first_seen[section, key] = line
                entries.append(_Entry(section, key, value, where))
    return entries


def _keys(section: str) -> list[str]:
    return [key.name for key in dataclasses.fields(SECTIONS[section])]


def _nearest_section(name: Optional[str]) -> str:
    near = difflib.get_close_matches(name or "", SECTIONS, n=1)
    return f"; did you mean [{near[0]}]?" if near else "; known are " + ", ".join(SECTIONS)


def _nearest_key(section: str, key: str) -> str:
    homes = [f"[{name}]" for name in SECTIONS if key in _keys(name)]
    if homes:
        return f" in [{section}]; it belongs to " + " or ".join(homes)
    near = difflib.get_close_matches(key, _keys(section), n=1, cutoff=0.5)
    if near:
        return f" in [{section}]; did you mean {near[0]}?"
    return f" in [{section}]; known are " + ", ".join(_keys(section))


def _override(entries: Iterable[_Entry]) -> Iterable[_Entry]:
    """Return the entries without those that a later file overrides."""
    return {(entry.section, entry.key): entry for entry in entries}.values()


def _read_values(
    entries: Iterable[_Entry],
    values: dict[str, Any],
    origins: dict[str, str],
    faults: list[Fault],
) -> None:
    """Parse the texts into `values`; a value that has a fault has an origin and no value."""
    keys = {
        f"{name}.{key.name}": key
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
    }
    for entry in entries:
        name = f"{entry.section}.{entry.key}"
        metadata = keys[name].metadata
        if not entry.text and metadata["derived"]:
            continue
        origins[name] = entry.origin
        try:
            values[name] = metadata["kind"].parse(entry.text)
        except ValueError:
            expected = metadata["kind"].expected
            faults.append(
                Fault(entry.origin, f"{entry.key} = {entry.text[:80]}: expected {expected}")
            )


def _fill_in(values: dict[str, Any], origins: dict[str, str]) -> Iterator[Fault]:
    """Add defaults and what is derived from other values; yield what is missing."""
    for section, fields in SECTIONS.items():
        for key in dataclasses.fields(fields):
            name = f"{section}.{key.name}"
            if name in origins:
                continue
            if key.default is not dataclasses.MISSING:
                values[name] = key.default
            elif key.default_factory is not dataclasses.MISSING:
                values[name] = key.default_factory()
            elif not key.metadata["derived"]:
                expected = key.metadata["kind"].expected
                yield Fault("", f"[{section}] {key.name} is missing: expected {expected}")
                continue
            origins[name] = "default"
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
    kinds = {
        f"{name}.{key.name}": key.metadata["kind"]
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
    }
    for relation in RELATIONS:
        if not all(name in values for name in relation.keys):
            continue
        if not relation.holds(*(values[name] for name in relation.keys)):
            places = [origins[name] for name in relation.keys if origins[name] != "default"]
            given = ", ".join(
                f"{name.split('.')[1]} = {kinds[name].form(values[name])}"
                for name in relation.keys
            )
            yield Fault(places[-1] if places else "", f"{relation.what} ({given})")

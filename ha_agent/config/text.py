# SPDX-License-Identifier: Apache-2.0
"""The configuration as text, for people: each value and where it is from. Values in, text out.

Of what is secret only whether it is set is told.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Optional

from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS, SanlockTimes
from ha_agent.compat.legacy_keys import Use
from ha_agent.config.schema import SECTIONS, Config

# A key with one of these words in its name holds what nobody is to read over a shoulder.
_SECRET_WORDS = ("password", "secret", "token")
MASK = "(set, not shown)"
# mount.ceph(8), mount.cifs(8): what is a key or a password among a mount's options.
_SECRET_OPTION = re.compile(r"(?<![^,])(secret|pass|passwd|password|password2)=[^,]+")


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
            text = without_secret(key.name, key.metadata["kind"].form(getattr(values, key.name)))
            origin = config.origins.get(f"{name}.{key.name}", "default")
            found.append(Shown(name, key.name, text, origin))
    return found


def without_secret(key: str, text: str) -> str:
    """Return a value's text as people may see it."""
    if text and any(word in key.split("_") for word in _SECRET_WORDS):
        return MASK
    return _SECRET_OPTION.sub(rf"\1={MASK}", text) if key == "mount_options" else text


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


def predecessor_text(config: Config) -> str:
    """Return every key of the predecessor's files, and what is done with it, for people."""
    if not config.predecessor:
        return "the predecessor's files are not there\n"
    files: dict[str, list[Use]] = {}
    for use in config.predecessor:
        files.setdefault(use.file, []).append(use)
    blocks = []
    for file, found in files.items():
        width = max(len(use.name) for use in found)
        lines = [
            f"{use.line:>5}  {use.name:<{width}}  {'; '.join(_told(use, config))}" for use in found
        ]
        blocks.append("\n".join([file, *lines]))
    return "\n\n".join(blocks) + "\n"


def _told(use: Use, config: Config) -> Iterator[str]:
    names = []
    for name in use.becomes:
        section, _, key = name.partition(".")
        origin = config.origins[name]
        counts = origin == f"{use.file}:{use.line}"
        names.append(f"[{section}] {key}" + ("" if counts else f" (but {origin} counts)"))
    if names:
        yield ", ".join(names)
    if use.what:
        yield use.what

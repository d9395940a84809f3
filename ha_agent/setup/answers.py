# SPDX-License-Identifier: Apache-2.0
"""The answers that `ha-agent deploy` needs: which there are, how they are read and checked.

An answer comes from a file (--answers), from an option, or from a person (questions.py); the
table in answer_table.py is the same for all three. The file:

    # a comment has a line of its own
    [storage]                  sections may be left out: a key's name is there once only
    storage_type = nfs
    [settings]                 our own settings, for all hosts; these have a section
    lease.lease_expiry_seconds = 20

All faults are told at once, each with file and line. Nothing here asks or reads the network.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ha_agent.bounded_file import read_bounded
from ha_agent.config.schema import SECTIONS
from ha_agent.errors import BadInput
from ha_agent.setup.answer_table import KEYS, Key

SETTINGS = "settings"
MAX_BYTES = 1 << 20
_BY_NAME = {key.name: key for key in KEYS}
# Settings go into hosted-engine.conf, which root's ha-vdsm does not take its own from; and with a
# sanlock VM lease the domain needs a lockspace, which it gets only when it is made.
_OF_VDSM = "vdsm-server"
_FILE_SECTIONS = (*dict.fromkeys(key.section for key in KEYS), SETTINGS)


class AnswersError(BadInput):
    """The answers can't be used; `faults` are all that was found, a sentence each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"the answers have {count}:", *self.faults]))


@dataclass(frozen=True)
class Given:
    """One answer as text, and where it is from: "file:line", or "--option". No repr of secrets."""

    text: str = field(repr=False)
    where: str


@dataclass(frozen=True)
class Answers:
    """Checked answers: `values` has one for every key of the table that is asked for, typed by
    the key's kind; `settings` are (section, key) -> text."""

    values: Mapping[str, Any] = field(repr=False)
    settings: Mapping[tuple[str, str], str]

    def text(self, name: str) -> str:
        """Return a text; "" where it was not asked for."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        """Return a whole number. Raises KeyError where it was not asked for."""
        return int(self.values[name])

    def path(self, name: str) -> Optional[Path]:
        """Return a path, None where there is none."""
        value = self.values.get(name)
        return value if isinstance(value, Path) else None


def read_answers(text: str, where: str, faults: list[str]) -> dict[str, Given]:
    """Read the text of an answers file: what it gives, by name; a setting is "section.key".

    Faults are added to `faults`: lines that are nothing, unknown names, a name twice.
    """
    found: dict[str, Given] = {}
    section = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        place, line = f"{where}:{number}", raw.replace("\t", " ").strip()
        if not line or line.startswith("#"):
            continue
        if not line.isprintable():
            faults.append(f"{place}: has a control character in it")
        elif line.startswith("["):
            section = line[1:-1].strip() if line.endswith("]") else line
            if section not in _FILE_SECTIONS:
                faults.append(
                    f"{place}: unknown section {line}{_nearest(section, _FILE_SECTIONS)}"
                )
        elif "=" not in line:
            faults.append(f"{place}: is neither [section] nor key = value")
        else:
            name, value = (part.strip() for part in line.split("=", 1))
            fault = _fault_of_name(section, name)
            if not fault and name in found:
                fault = f"{name} is there already, at {found[name].where}"
            if fault:
                faults.append(f"{place}: {fault}")
            else:
                found[name] = Given(value, place)
    return found


def load_answers(path: Path, faults: list[str]) -> dict[str, Given]:
    """Read an answers file, as `read_answers`. Raises BadInput when it can't be read."""
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from None
    try:
        return read_answers(data.decode("utf-8-sig"), str(path), faults)
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8 text", where=str(path)) from None


def take_answer(
    key: Key, answer: Optional[Given], values: dict[str, Any], faults: list[str]
) -> None:
    """Put an answer, or its default, into `values`, or what is wrong with it into `faults`."""
    text = key.default if answer is None else answer.text
    if text is None:
        faults.append(f"{key.name} is missing: {key.question} ({key.kind.expected})")
        return
    try:
        values[key.name] = key.kind.parse(text)
    except ValueError:
        where = f"{answer.where}: " if answer is not None else ""
        shown = "(not shown)" if key.secret else repr(text[:80])
        faults.append(f"{where}{key.name} = {shown}: expected {key.kind.expected}")


def check(given: Mapping[str, Given], faults: Iterable[str] = ()) -> Answers:
    """Return the answers, with defaults for what was not given.

    Raises AnswersError with `faults` and all that it finds: values that don't fit, answers that
    are missing (all of them), answers that contradict each other.
    """
    found = list(faults)
    values: dict[str, Any] = {}
    for key in KEYS:
        if not key.when(values):
            if key.name in given and given[key.name].text:
                found.append(f"{given[key.name].where}: {key.name} has no place here: {key.only}")
            continue
        take_answer(key, given.get(key.name), values, found)
    settings = {}
    for name, answer in given.items():
        if name not in _BY_NAME:
            section, _, key_name = name.partition(".")
            settings[section, key_name] = answer.text
    found += contradictions(values)
    if found:
        raise AnswersError(found)
    return Answers(values, settings)


def form(answers: Answers) -> str:
    """Return the text of an answers file that gives these answers again, without secrets."""
    lines: list[str] = []
    section = ""
    for key in KEYS:
        if key.name not in answers.values:
            continue
        if key.section != section:
            section = key.section
            lines += ["", f"[{section}]"]
        value = key.kind.form(answers.values[key.name])
        lines.append(
            f"# {key.name} = (not written down)" if key.secret else f"{key.name} = {value}"
        )
    if answers.settings:
        lines += ["", f"[{SETTINGS}]"]
        lines += [f"{s}.{name} = {text}" for (s, name), text in answers.settings.items()]
    return "\n".join([*lines[1:], ""])


def _fault_of_name(section: str, name: str) -> str:
    if section == SETTINGS or (not section and "." in name):
        return _fault_of_setting(name)
    key = _BY_NAME.get(name)
    if key is None:
        return f"unknown key {name!r}{_nearest(name, tuple(_BY_NAME))}"
    if section in _FILE_SECTIONS and key.section != section:
        return f"{name} belongs to [{key.section}]"
    return ""


def _fault_of_setting(name: str) -> str:
    section, dot, key = name.partition(".")
    if not dot or section not in SECTIONS:
        near = _nearest(section, tuple(SECTIONS))
        return f"unknown setting {name!r}: settings are section.key{near}"
    if section == _OF_VDSM:
        return (
            f"{name} is ha-vdsm's, which is root, and makes the storage domain: put it into"
            " /etc/ha-agent/ha-agent.conf on each host, restart ha-vdsm, and deploy then"
        )
    names = tuple(each.name for each in dataclasses.fields(SECTIONS[section]))
    return "" if key in names else f"unknown key {key!r} in {section}{_nearest(key, names)}"


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else "; known are " + ", ".join(names)


def contradictions(values: Mapping[str, Any]) -> Iterable[str]:
    """Tell which answers don't go together, a sentence each that names the keys."""
    kind = values.get("storage_type")
    if values.get("lease_backend") == "lockfile" and kind in ("iscsi", "fc", "nfs3"):
        why = (
            "NFS version 3 keeps the locks of a host that died"
            if kind == "nfs3"
            else "a block domain has no files to lock"
        )
        yield (
            f"lease_backend = lockfile does not work with storage_type = {kind}: {why}; sanlock"
            " does"
        )
    if bool(values.get("iscsi_user")) != bool(values.get("iscsi_password")):
        yield "iscsi_user and iscsi_password: CHAP needs both or none"
    new, old = values.get("disk_image_file"), values.get("disk_volume")
    if bool(values.get("disk_image")) != bool(old):
        yield "disk_image and disk_volume: an existing disk is named by both"
    if new and old:
        yield "disk_image_file and disk_volume: the disk is new or there already, not both"
    if not new and not old and "disk_image_file" in values and "disk_volume" in values:
        yield (
            "disk_image_file is missing: a file to make the engine VM's disk from (or disk_image"
            " and disk_volume of one that is on the domain)"
        )


__all__ = [
    "KEYS",
    "Answers",
    "AnswersError",
    "Given",
    "Key",
    "check",
    "contradictions",
    "form",
    "load_answers",
    "read_answers",
]

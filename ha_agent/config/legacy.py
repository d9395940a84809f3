# SPDX-License-Identifier: Apache-2.0
"""The layers below ha-agent.conf that are in the predecessor's files; config.py stacks them.

    defaults
    < hosted-engine.conf, agent.conf, broker.conf     key by key (compat/legacy_keys.py)
    < VDSM's own files                                config/vdsm.py
    < ha_agent_<section>_<key> in hosted-engine.conf  our settings that all hosts share
    < ha-agent.conf and ha-agent.conf.d               this host's own

hosted-engine.conf is what makes a host one of the hosted engine: without it agent.conf and
broker.conf, which a package may have left behind, count for nothing. A file that is damaged is a
fault, and so is a hosted-engine.conf without any key, as a power cut leaves it: were its layer
left out, this host could have another lease time than its peers. Only a file that this user may
not read is none, as whoever asks the daemons may do without; it is noted, what is then missing is
a fault, and a daemon does not start (config.py, `complete`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ha_agent import maintenance_file
from ha_agent.bounded_file import read_bounded
from ha_agent.compat import hosted_engine_conf, ini_conf, legacy_keys
from ha_agent.compat.legacy_keys import AGENT, BROKER, FILES, HA, HOSTED_ENGINE, Said, Use
from ha_agent.compat.legacy_values import Pairs
from ha_agent.config.file import Entry, Fault
from ha_agent.errors import BadInput

HOSTED_ENGINE_CONF = Path(FILES[HOSTED_ENGINE][0])
_MAX_BYTES = hosted_engine_conf.MAX_BYTES


@dataclass(frozen=True)
class Predecessor:
    """What the predecessor's files say, low layer and high layer, and each of their keys' use.

    `there`: hosted-engine.conf exists. `unreadable` says which file this user may not read.
    `damaged`: one can't be used as a whole, so that it is not known what it says. `ha_conf` is
    the file with the host's local maintenance, where there is one.
    """

    theirs: tuple[Entry, ...] = ()
    ours: tuple[Entry, ...] = ()
    faults: tuple[Fault, ...] = ()
    uses: tuple[Use, ...] = ()
    files: tuple[Path, ...] = ()
    unreadable: tuple[str, ...] = ()
    there: bool = False
    damaged: bool = False
    ha_conf: Optional[Path] = None


def read(path: Path, root: Path, known: Iterable[str]) -> Predecessor:
    """Read the hosted-engine.conf at `path`, and its neighbours below `root`.

    `known` are all keys of ours, "section.key".
    """
    layers = _Layers()
    pairs = layers.take(path, hosted_engine_conf.parse)
    if pairs is not None:
        said = [*legacy_keys.translated(HOSTED_ENGINE, pairs)]
        own = [*legacy_keys.own_settings(pairs, known)]
        layers.add(HOSTED_ENGINE, pairs, said, own)
        if not pairs.lines:
            layers.faults.append(Fault(str(path), "has no key: was it cut off when written?"))
        _check_configured(pairs, layers.faults)
    if layers.there:
        for file in (AGENT, BROKER, HA):
            for place in FILES[file]:
                neighbour = layers.take(root / place.lstrip("/"), _parsers[file])
                if neighbour is not None:
                    layers.add(file, neighbour, [*legacy_keys.translated(file, neighbour)], [])
                    break
    ha_conf = root / FILES[HA][0].lstrip("/")
    return Predecessor(
        theirs=tuple(layers.theirs),
        ours=tuple(layers.ours),
        faults=tuple(layers.faults),
        uses=tuple(layers.uses),
        # Nobody reads it again: our own has taken its place.
        files=tuple(file for file in layers.files if file != ha_conf),
        unreadable=tuple(layers.unreadable),
        there=layers.there,
        damaged=layers.damaged,
        ha_conf=ha_conf if ha_conf in layers.files else None,
    )


def read_text(path: Path) -> Optional[str]:
    """Return a file's text, None where there is none.

    Raises PermissionError, and BadInput for what else is wrong with it.
    """
    try:
        data = read_bounded(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput("is not UTF-8 text", where=str(path), offset=line, unit="line") from None


class _Layers:
    """What was found so far."""

    def __init__(self) -> None:
        self.theirs: list[Entry] = []
        self.ours: list[Entry] = []
        self.faults: list[Fault] = []
        self.uses: list[Use] = []
        self.files: list[Path] = []
        self.unreadable: list[str] = []
        self.there = False
        self.damaged = False

    def take(self, path: Path, parse: Callable[[str, str], Pairs]) -> Optional[Pairs]:
        """Return a file's pairs, None where there is none that can be used."""
        try:
            text = read_text(path)
            if text is None:
                return None
            self.there = True
            self.files.append(path)
            return parse(text, str(path))
        except PermissionError:
            self.there = True
            self.unreadable.append(f"{path} can't be read: Permission denied")
        except BadInput as fault:
            self.there = self.damaged = True
            where = fault.where if fault.offset is None else f"{path}:{fault.offset}"
            self.faults.append(Fault(where, fault.what))
        return None

    def add(self, file: str, pairs: Pairs, said: list[Said], own: list[Said]) -> None:
        """Add what a file says."""
        self.theirs += map(_entry, said)
        self.ours += (_entry(one) for one in own if one.key)
        self.faults += (Fault(one.where, one.fault) for one in own if not one.key)
        self.uses += legacy_keys.uses(file, pairs, [*said, *own])


def _entry(said: Said) -> Entry:
    section, _, key = said.key.partition(".")
    return Entry(section, key, said.text, said.where, said.name, said.fault)


def _check_configured(pairs: Pairs, faults: list[Fault]) -> None:
    word = pairs.values.get("configured", "True")
    if word.lower() == "true":
        return
    told = "expected True or False"
    if word.lower() == "false":
        told = "this host was taken out of the hosted engine's; `ha-agent join` brings it back"
    where = f"{pairs.where}:{pairs.lines['configured']}"
    faults.append(Fault(where, f"configured = {word[:80]}: {told}"))


def _ini(text: str, where: str) -> Pairs:
    return legacy_keys.pairs_of_ini(ini_conf.parse(text, where))


def _ha(text: str, where: str) -> Pairs:
    maintenance_file.parse(text, where)
    return hosted_engine_conf.parse(text, where)


_parsers: dict[str, Callable[[str, str], Pairs]] = {
    AGENT: _ini,
    BROKER: _ini,
    HA: _ha,
}

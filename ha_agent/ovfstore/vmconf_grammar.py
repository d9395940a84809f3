# SPDX-License-Identifier: Apache-2.0
"""The grammar of vm.conf: text to keys with nested values, and what of a text it can carry.

It knows the shape of a line and nothing of what a key means; vmconf_read.py does. The shape is
the one in which hosted-engine's own parser reads the file before it starts a VM, inherited from
vdsClient (facts/ovf-and-volumes.md, section 3):

    file    := line*        in each line all blanks are deleted, then everything from '#' on;
                            what is empty then is skipped
    line    := key '=' value | key                    split at the first '='; a key alone is ''
    value   := nested | flat | text                   by the key, see below
    nested  := '{' [ name ':' ( nested | text ) [','] ]* '}'
    flat    := name ':' text ( ',' name ':' text )*   at least one ','

A name ends at the first ':', so a value may hold more of them (a MAC); a nested text ends at ','
or '}' and has no '{'. `devices`, `drive` and `guestNumaNodes` may occur many times, `cdrom` and
`floppy` once, as nested, flat or text; `cpuPinning` and `numaTune` are nested; every other key
is text, of which the last one counts. In a flat value `domain`, `pool`, `image` and `volume` are
short for `domainID` and so on. `vt` is another name of `kvmEnable`, `imageFile` of `hda`, and
`moreImages=a,b,c` is `hdb=a`, `hdc=b`, `hdd=c`.

The predecessor's agent has a second reading of the same file, `ConfigFile.load`: it keeps blanks
within a line, skips only lines that begin with '#', and keeps the last of a repeated key, so that
it sees one device only. It uses that for `vmId` and the like, never for a start. So the first
reading is the one that says what a file means, and the only one here. A text that both read alike
is what vmconf.py writes.

The file comes from outside: size, lines, fields and depth are bounded, and every error is a
BadInput that names file and line, with the column where that helps (blanks are not counted in it,
since they are gone when it is known).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional, Union

from ha_agent.errors import BadInput

# The real ones have 1 to 30 KB, most of it xmlBase64.
SIZE_LIMIT_BYTES = 1024 * 1024
LINE_LIMIT = 20_000
FIELD_LIMIT = 100_000
DEPTH_LIMIT = 16

Value = Union[str, Mapping[str, "Value"]]
"""A text, or fields by name; of a name that occurs twice in a value, the last one counts."""

_SPEC_KEYS = ("devices", "drive", "guestNumaNodes", "cdrom", "floppy")
_NESTED_KEYS = ("cpuPinning", "numaTune")
_ALIASES = {"vt": "kvmEnable", "imageFile": "hda"}
_MORE_IMAGES = ("hdb", "hdc", "hdd")
_SHORT_NAMES = {name: f"{name}ID" for name in ("domain", "pool", "image", "volume")}

_BLANKS = re.compile(r"\s+")
_NEWLINE = re.compile(r"\r\n|\r|\n")
# What no XML document, and so no OVF, can hold, NUL among it; but blanks are deleted anyway.
_NO_XML = re.compile("[^\t-\r\x1c-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT_END = re.compile("[,{}]")
_UNCARRIED = re.compile(r"[\s#]")
_UNCARRIED_NESTED = re.compile(r"[\s#,{}]")


@dataclass(frozen=True)
class Entry:
    """One line: its number from 1, its key, and its value by the grammar."""

    line: int
    key: str
    value: Value


@dataclass(frozen=True)
class VmConf:
    """A parsed vm.conf: its entries in the order of the file, other names resolved."""

    entries: tuple[Entry, ...]

    def last(self, key: str) -> Optional[Entry]:
        """Return the entry that counts for a key that is not repeatable, or None."""
        return next((entry for entry in reversed(self.entries) if entry.key == key), None)

    def all(self, key: str) -> tuple[Entry, ...]:
        """Return the entries of a repeatable key, in order."""
        return tuple(entry for entry in self.entries if entry.key == key)


def parse_vm_conf(data: Union[str, bytes], *, where: str) -> VmConf:
    """Parse the text of a vm.conf. Raises BadInput with file and line, and nothing else."""
    text = _decode(data, where)
    entries: list[Entry] = []
    fields_left = FIELD_LIMIT
    # Python reads a text file so; other line ends are blanks like any other.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > LINE_LIMIT:
        raise BadInput(f"more than {LINE_LIMIT} lines", where=where)
    for number, raw in enumerate(text.split("\n"), start=1):
        line = _BLANKS.sub("", raw).partition("#")[0]
        if not line:
            continue
        key, _, value = line.partition("=")
        scanner = _Scanner(line, len(key) + 1, number, where, fields_left)
        if key in _SPEC_KEYS and "=" in line:
            entries.append(Entry(number, key, scanner.spec()))
        elif key in _NESTED_KEYS and "=" in line:
            entries.append(Entry(number, key, scanner.nested()))
        elif key == "moreImages":
            entries.extend(_more_images(value, number, where))
        else:
            entries.append(Entry(number, _ALIASES.get(key, key), value))
        fields_left = scanner.fields_left
    return VmConf(tuple(entries))


def is_carried(text: str, *, nested: bool = False) -> bool:
    """Tell whether the grammar gives `text` back as it is; `nested`: as a name or value in braces.

    A name must besides be without ':' in braces and without '=' at the beginning of a line.
    """
    unsafe = _UNCARRIED_NESTED if nested else _UNCARRIED
    return is_xml_text(text) and unsafe.search(text) is None


def is_xml_text(text: str) -> bool:
    """Tell whether an XML document can hold `text`."""
    return _NO_XML.search(text) is None


def nested_text(fields: Mapping[str, Value]) -> str:
    """Write fields in braces. A field whose name or text the grammar can't carry is left out."""
    parts = []
    for name, value in fields.items():
        if not is_carried(name, nested=True) or ":" in name:
            continue
        if not isinstance(value, str):
            parts.append(f"{name}:{nested_text(value)}")
        elif is_carried(value, nested=True):
            parts.append(f"{name}:{value}")
    return "{" + ",".join(parts) + "}"


def _decode(data: Union[str, bytes], where: str) -> str:
    if len(data) > SIZE_LIMIT_BYTES:
        raise BadInput(f"longer than {SIZE_LIMIT_BYTES} bytes", where=where)
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1 if isinstance(data, bytes) else None
        raise BadInput("not UTF-8", where=where, offset=line, unit="line") from None
    bad = _NO_XML.search(text)
    if bad is not None:
        line = len(_NEWLINE.findall(text, 0, bad.start())) + 1
        raise BadInput(
            f"character {bad.group()!r} is not allowed", where=where, offset=line, unit="line"
        )
    return text


def _more_images(value: str, line: int, where: str) -> Iterator[Entry]:
    images = value.split(",")
    if len(images) > len(_MORE_IMAGES):
        raise BadInput(
            f"moreImages has {len(images)} images, more than {len(_MORE_IMAGES)}",
            where=where,
            offset=line,
            unit="line",
        )
    for key, image in zip(_MORE_IMAGES, images):
        yield Entry(line, key, image)


class _Scanner:
    """Reads the value of one line from a place on, each character once."""

    def __init__(self, line: str, at: int, number: int, where: str, fields_left: int) -> None:
        self._line = line
        self._at = at
        self._number = number
        self._where = where
        self.fields_left = fields_left

    def spec(self) -> Value:
        """Read nested, flat or text, as the value's first character and its commas tell."""
        text = self._line[self._at :]
        if text.startswith("{"):
            return self.nested()
        if "," not in text:
            return text
        fields: dict[str, Value] = {}
        for item in text.split(","):
            if item:
                name, colon, value = item.partition(":")
                if not colon:
                    raise self._bad(f"{item[:40]!r} has no ':' after its name")
                if "{" in item or "}" in item:
                    raise self._bad(f"{item[:40]!r} has a brace, and the value does not begin so")
                self._count()
                fields[_SHORT_NAMES.get(name, name)] = value
            self._at += len(item) + 1
        return fields

    def nested(self) -> Mapping[str, Value]:
        """Read fields in braces that end with the line."""
        if not self._line.startswith("{", self._at):
            raise self._bad("'{' expected")
        fields = self._fields(1)
        if self._at != len(self._line):
            raise self._bad("more text after the last '}'")
        return fields

    def _fields(self, depth: int) -> Mapping[str, Value]:
        if depth > DEPTH_LIMIT:
            raise self._bad(f"braces nested deeper than {DEPTH_LIMIT}")
        line = self._line
        fields: dict[str, Value] = {}
        self._at += 1
        while not line.startswith("}", self._at):
            colon = line.find(":", self._at)
            if colon < 0:
                raise self._bad("'}' expected, or a name and ':'")
            name, self._at = line[self._at : colon], colon + 1
            self._count()
            if line.startswith("{", self._at):
                fields[name] = self._fields(depth + 1)
            else:
                fields[name] = self._text()
            if line.startswith(",", self._at):
                self._at += 1
        self._at += 1
        return fields

    def _text(self) -> str:
        end = _TEXT_END.search(self._line, self._at)
        if end is None:
            raise self._bad("no '}' ends this value")
        start, self._at = self._at, end.start()
        if end.group() == "{":
            raise self._bad("'{' within a text")
        return self._line[start : self._at]

    def _count(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise self._bad(f"more than {FIELD_LIMIT} fields in the file")

    def _bad(self, what: str) -> BadInput:
        column = self._at + 1
        return BadInput(
            f"column {column}: {what}", where=self._where, offset=self._number, unit="line"
        )

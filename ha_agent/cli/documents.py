# SPDX-License-Identifier: Apache-2.0
"""Where `ha-agent ovf` gets a definition from: a file, an OVF_STORE volume, the live store.

A file is an OVF, or a vm.conf of the 3.5 era: its first character tells. A volume is read by a
storage worker with a deadline, since storage may hang.
"""

from __future__ import annotations

import argparse
import codecs
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ha_agent.cli.command import Command, add_timeout
from ha_agent.errors import BadInput, EnvironmentFault

if TYPE_CHECKING:  # lxml costs every other command 30 ms
    from ha_agent.ovfstore.model import VmDefinition

# As much as the XML reader takes; what is longer is no definition of a VM.
_FILE_LIMIT_BYTES = 8 * 1024 * 1024
_ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Document:
    """A definition's bytes, and a name of the place that they are from, for errors."""

    data: bytes
    where: str

    @property
    def is_vm_conf(self) -> bool:
        """Whether it is a vm.conf: an OVF begins with `<`, after a byte order mark perhaps."""
        return not self.data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


@dataclass(frozen=True)
class Meaning:
    """What a document says. `invented`: what a vm.conf lacks and was filled in, as sentences."""

    vm: VmDefinition
    invented: tuple[str, ...] = ()


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add FILE, --volume and --store, of which one is wanted."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help="an OVF or a vm.conf; - is stdin")
    source.add_argument("--volume", metavar="PATH", help="an OVF_STORE volume, or a copy of one")
    source.add_argument("--store", action="store_true", help="what the broker has in use now")
    parser.add_argument(
        "--vm",
        metavar="UUID",
        help="with --volume: of this VM; without, of the one that the configuration names",
    )
    add_timeout(parser, _ASK_SECONDS)


def chosen(command: Command) -> Document:
    """Return the document that the arguments of `add_source` name."""
    arguments = command.arguments
    if arguments.store:
        return in_use(command)
    if arguments.volume is not None:
        vm_uuid = arguments.vm or command.settings.engine.vm_uuid
        return _from_volume(arguments.volume, vm_uuid.lower(), arguments.timeout)
    return from_file(arguments.file)


def from_file(name: str) -> Document:
    """Read a local definition, or stdin for `-`. Raises EnvironmentFault, BadInput."""
    data, where = read_file(name, _FILE_LIMIT_BYTES, "; an OVF_STORE volume is read with --volume")
    _refuse_other(data, where)
    return Document(data, where)


def read_file(name: str, limit_bytes: int, advice: str = "") -> tuple[bytes, str]:
    """Return what a local file holds, stdin for `-`, and what to call it in errors.

    Raises EnvironmentFault, and BadInput, with `advice` behind it, for what is too long.
    """
    try:
        if name == "-":
            data, name = sys.stdin.buffer.read(limit_bytes + 1), "stdin"
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit_bytes + 1)
    except OSError as error:
        raise EnvironmentFault(f"{name}: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise BadInput(f"more than {limit_bytes} bytes{advice}", where=name)
    return data, name


def _refuse_other(data: bytes, name: str) -> None:
    """Raise BadInput for what is plainly neither an OVF nor a vm.conf, and say what it is."""
    if not data.strip():
        raise BadInput("is empty", where=name)
    if data[257:262] == b"ustar":
        raise BadInput("is an archive; the OVF in it is read with --volume", where=name)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("is UTF-16; an OVF and a vm.conf are UTF-8", where=name)
    if b"\0" in data:
        raise BadInput("is no text: neither an OVF nor a vm.conf", where=name)


def in_use(command: Command) -> Document:
    """Return the definition that this host's broker uses."""
    return _answered(command, "ovf.get", {}, "the definition in use")


def version(command: Command, number: int) -> Document:
    """Return a version of this host's history."""
    return _answered(command, "ovf.version", {"number": number}, f"version {number}")


def named(command: Command, name: str) -> Document:
    """Return a version by its number, `current`, or else a file's content."""
    if name.isascii() and name.isdigit():
        return version(command, int(name))
    if name == "current":
        return in_use(command)
    return from_file(name)


def _answered(command: Command, method: str, params: dict[str, object], where: str) -> Document:
    document = command.ask_map(method, params).get("document")
    if not isinstance(document, bytes):
        raise BadInput("the answer has no document", where=f"broker.{method}")
    return Document(document, where)


def understood(document: Document, storage_domain_uuid: Optional[str] = None) -> Meaning:
    """Parse a document. `storage_domain_uuid` is for a vm.conf whose disks name none."""
    if not document.is_vm_conf:
        from ha_agent.ovfstore.ovf_parse import parse_ovf

        return Meaning(parse_ovf(document.data, where=document.where))
    from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
    from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf

    text = document.data
    if text.startswith(codecs.BOM_UTF8):
        text = text[len(codecs.BOM_UTF8) :]
    conf = parse_vm_conf(text, where=document.where)
    vm, invented = definition_from_vm_conf(
        conf, storage_domain_uuid=storage_domain_uuid, where=document.where
    )
    return Meaning(vm, invented)


def domain_of(meaning: Meaning, given: Optional[str]) -> str:
    """Return the storage domain's UUID: as given, else the one that the VM boots from."""
    if given is not None:
        return given.lower()
    for disk in meaning.vm.disks_in_boot_order():
        if disk.storage_domain_uuids:
            return disk.storage_domain_uuids[0]
    raise BadInput("no disk of the VM names its storage domain: name it with --domain UUID")


def _from_volume(path: str, vm_uuid: str, deadline_seconds: float) -> Document:
    # Imported here: asyncio would make every other command start later.
    import asyncio

    from ha_agent.broker.storage.lane import StorageLane
    from ha_agent.clock import SystemClock

    name = f"{vm_uuid}.ovf"

    async def read() -> Optional[bytes]:
        lane = StorageLane("volume", ".", clock=SystemClock(), max_abandoned=1)
        await lane.start()
        try:
            answer = await lane.call(
                "read_members", deadline_seconds, path=path, size_bytes=None, names=[name]
            )
        finally:
            await lane.close()
        found: Optional[bytes] = answer["members"].get(name)
        return found

    data = asyncio.run(read())
    if data is None:
        raise BadInput(f"no member {name!r} in the archive", where=path)
    return Document(data, f"{path}, {name}")

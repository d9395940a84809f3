# SPDX-License-Identifier: Apache-2.0
"""The targets that are archives or stand in one: tar, its end read first, configuration volume,
backup, and the small JSON documents of an approval and a version.

An archive must mean to us what it means to Python's tarfile, whichever way we read it; what is
written again must read the same.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from fuzz.promise import DOMAIN, VM, WHERE, Finding, refused
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore import approval, backup, conf_volume, tar_tail, tar_volume, version

_WRITTEN_AT = WallTime(1e9)
_RECORD_AT = conf_volume.ARCHIVE_BYTES
TAR_WORDS = (
    b"ustar\x0000", b"ustar  \x00", b"\x80", b"\xff", b"00000000000 ", b"L", b"x", b"../",
    b"info.json",
)  # fmt: skip
JSON_WORDS = (
    b'"identity"', b'"codes"', b'"sha256"', b'"number"', b'"accepted_at"', b"[", b"{", b"null",
    b"true", b"-1", b"1e999", b"NaN", b"\\u0000", b"\\ud800", b"9" * 30, b'""',
)  # fmt: skip


def fuzz_tar(data: bytes) -> None:
    """An archive: refused, or with the same content as Python's tarfile sees."""

    def read_at(offset: int, length_bytes: int) -> bytes:
        return data[offset : offset + length_bytes]

    try:
        members = tar_volume.list_members(read_at, len(data), where=WHERE)
        names = sorted({member.name for member in members})
        found = tar_volume.read_members(read_at, len(data), names, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    _as_tarfile(data, found)


def _as_tarfile(data: bytes, found: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for name in found:
            try:
                info = archive.getmember(name)
            except KeyError:
                # Python takes a trailing slash away, and reads some names otherwise.
                continue
            file = archive.extractfile(info)
            if file is not None and file.read() != found[name]:
                raise Finding(f"tarfile reads {name!r} otherwise")


def fuzz_tar_tail(data: bytes) -> None:
    """An archive read from its end: as the walk through all of it reads it, or not at all."""
    names = [f"{VM}.ovf", f"{VM}.ovf.approval"]

    def read_at(offset: int, length_bytes: int) -> bytes:
        return data[offset : offset + length_bytes]

    def view_at(offset: int, length_bytes: int) -> memoryview:
        return memoryview(data)[offset : offset + length_bytes]

    found = tar_tail.find_last(view_at, read_at, len(data), names)
    if found is None:
        return
    try:
        members = tar_volume.list_members(read_at, len(data), where=WHERE)
    except BadInput as error:
        refused(error)
        return  # damaged further in front, where the end does not look
    if tar_volume.end_of_archive(members) != len(data):
        return  # an end within the archive: the description's Size would not be this one
    last = {member.name: member for member in members if member.name in names}
    if found.get(names[0]) != last.get(names[0]):
        raise Finding(f"from the end {found.get(names[0])}, from the front {last.get(names[0])}")


def fuzz_conf_volume(data: bytes) -> None:
    """A configuration volume, behind its archive the redo record: read, and written again."""
    archive, record = data[:_RECORD_AT], data[_RECORD_AT:]
    current, _is_pending = conf_volume.current_archive(archive, record)
    try:
        files = conf_volume.decode_conf_volume(current, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    conf_volume.name_notes(files)
    try:
        again = conf_volume.encode_conf_volume(files, _WRITTEN_AT)
    except BadInput:
        return  # one of the five is missing, or they don't fit; there is no input to name any more
    if conf_volume.decode_conf_volume(again, where=WHERE) != files:
        raise Finding("the files are others after they were written and read again")
    volume = bytearray(archive.ljust(_RECORD_AT, b"\0") + record)
    for offset, block in conf_volume.plan_writes(archive, record, again):
        at = offset if offset < conf_volume.RECORD_OFFSET else _RECORD_AT
        volume[at : at + len(block)] = block
    if (
        conf_volume.current_archive(bytes(volume[:_RECORD_AT]), bytes(volume[_RECORD_AT:]))[0]
        != again
    ):
        raise Finding("what was written is not what counts")


def fuzz_backup(data: bytes) -> None:
    """A backup: refused, or the same after it was written and read again."""
    try:
        found = backup.read_backup(data, where=WHERE, last=100)
    except BadInput as error:
        refused(error)
        return
    if backup.read_backup(backup.build_backup(found), where=WHERE, last=100) != found:
        raise Finding("the versions are others after they were written and read again")


def fuzz_approval(data: bytes) -> None:
    """The member that says who forced a definition: refused, or the same when written again."""
    try:
        found = approval.parse_approval(data, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    if approval.parse_approval(approval.format_approval(found), where=WHERE) != found:
        raise Finding("the approval is another one after it was written and read again")


def fuzz_version(data: bytes) -> None:
    """What a host notes of a version: refused, or the same when written again."""
    try:
        found = version.parse_version(data, where=WHERE)
    except BadInput as error:
        refused(error)
        return
    if version.parse_version(version.format_version(found), where=WHERE) != found:
        raise Finding("the version is another one after it was written and read again")


def tar_seeds() -> list[bytes]:
    """Return archives as the engine writes them, a repeated one among them."""
    members = [(VM, b"<ovf/>" * 100), (DOMAIN, b"x")]
    text = "Sun Nov 22 05:16:23 UTC 2026"
    archive = tar_volume.build_archive(
        DOMAIN, members, last_updated_text=text, written_at=_WRITTEN_AT
    )
    # Our own layout: the engine VM's member last, its approval behind it.
    own = archive[: -tar_volume.END_BYTES]
    for name, content in ((f"{VM}.ovf", b"<new/>" * 50), (f"{VM}.ovf.approval", b"{}")):
        own += tar_volume.encode_member(name, content, _WRITTEN_AT)
    return [archive, archive + archive[:2048], own + bytes(tar_volume.END_BYTES)]


def conf_volume_seeds() -> list[bytes]:
    """Return a volume with and without a redo record in force."""
    old, new = (
        conf_volume.encode_conf_volume(
            dict.fromkeys(conf_volume.FILE_NAMES, text * 10), _WRITTEN_AT
        )
        for text in (b"key=value\n", b"key=other\n")
    )
    _offset, record = conf_volume.plan_writes(old, b"", new)[0]
    return [old, old + record]


def _versions() -> list[tuple[version.Version, bytes]]:
    return [
        (
            version.Version(
                number=number,
                sha256=version.sha256_of(document),
                accepted_at=_WRITTEN_AT,
                source="volume",
                how="read",
                vm_name="HostedEngine",
                memory_mib=4096,
            ),
            document,
        )
        for number, document in ((16, b"<ovf/>"), (17, b"<ovf></ovf>"))
    ]


def backup_seeds() -> list[bytes]:
    """Return backups of one and of two versions."""
    return [backup.build_backup(_versions()), backup.build_backup(_versions()[:1])]


def approval_seeds() -> list[bytes]:
    """Return an approval as it is written."""
    whole = approval.Approval("0123456789ab", ("no_nic",), "root", "2026-11-22T05:16:23Z")
    return [approval.format_approval(whole)]


def version_seeds() -> Sequence[bytes]:
    """Return what is noted of two versions."""
    return [version.format_version(one) for one, _ in _versions()]

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import tarfile
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.backup import build_backup, number_in, read_backup
from ha_agent.ovfstore.version import Version, format_version, sha256_of

DOCUMENTS = [b"first", b"second" * 200, b""]


def version_of(number: int, document: bytes) -> Version:
    return Version(number, sha256_of(document), WallTime(1e9), "volume x", "read", "he", 4096)


VERSIONS = [(version_of(n, document), document) for n, document in enumerate(DOCUMENTS, 5)]
SOUND = build_backup(VERSIONS)


def read(data: bytes, last: int = 20) -> list[tuple[Version, bytes]]:
    return read_backup(data, where="b", last=last)


def tar_of(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pair(version: Version, document: bytes) -> list[tuple[str, bytes]]:
    stem = f"{version.number:06}"
    return [(f"{stem}.ovf", document), (f"{stem}.json", format_version(version))]


def test_what_is_built_is_read() -> None:
    assert read(SOUND) == VERSIONS


def test_only_the_last_are_read_when_no_more_are_wanted() -> None:
    assert read(SOUND, last=2) == VERSIONS[1:]


def test_other_tools_read_it_and_write_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(SOUND)) as archive:
        first = archive.extractfile("000006.ovf")
        assert first is not None
        assert first.read() == DOCUMENTS[1]
    # In any order, since people repack.
    members = [member for item in reversed(VERSIONS) for member in reversed(pair(*item))]
    assert read(tar_of(*members)) == VERSIONS


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("000017.ovf", 17), ("1234567.ovf", 1234567), ("0000017.ovf", None), ("17.ovf", None)],
        *[("000017.json", None), ("000017.ovf.x", None), ("x/000017.ovf", None), ("000017", None)],
        *[("00001\u0667.ovf", None), ("-00017.ovf", None), ("000017.ovf\n", None)],
    ],
)
def test_a_versions_file_is_known_by_its_name(name: str, number: Optional[int]) -> None:
    assert number_in(name, "ovf") == number


FIRST = pair(*VERSIONS[0])
FALSE_NUMBER = dataclasses.replace(VERSIONS[0][0], number=6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (bytes(1024), "it holds no version"),
        (SOUND[:-1024], "truncated"),
        (SOUND[:700], "truncated"),
        (SOUND.replace(b"first", b"worst"), "SHA-256"),
        (tar_of(FIRST[0]), "lacks '000005.json'"),
        (tar_of(FIRST[1]), "lacks '000005.ovf'"),
        (tar_of(*FIRST, FIRST[0]), "stands there twice"),
        (tar_of(*FIRST, ("../../etc/passwd", b"")), "leads out of the archive"),
        (tar_of(*FIRST, ("/etc/passwd", b"")), "leads out of the archive"),
        (tar_of(*FIRST, ("x/000009.ovf", b"")), "none of a history"),
        (tar_of(*FIRST, ("000009.ovf", b""), kind=tarfile.SYMTYPE), "not a regular file"),
        (tar_of(*FIRST, ("000009.ovf", b""), kind=tarfile.LNKTYPE), "not a regular file"),
        (tar_of(*FIRST, ("000009.ovf", b""), kind=tarfile.CHRTYPE), "not a regular file"),
        (tar_of(FIRST[0], ("000005.json", b" " * 100_000)), "100000 bytes long"),
        (tar_of(FIRST[0], ("000005.json", b"{}")), "000005.json: sha256"),
        (tar_of(FIRST[0], ("000005.json", format_version(FALSE_NUMBER))), "it is version 6"),
    ],
    ids=itertools.count(),
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=f"b.*{message}"):
        read(data)


def test_a_document_that_is_too_long_is_not_read() -> None:
    long = bytes(8 * 1024 * 1024 + 1)
    with pytest.raises(BadInput, match="more than 8388608"):
        read(build_backup([(version_of(1, long), long)]))


@given(st.data())
def test_nothing_but_bad_input_comes_of_damage(data: st.DataObject) -> None:
    """And what is read in spite of it is what was written: the hashes see to that."""
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(SOUND) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadInput):
        assert [document for _, document in read(bytes(damaged))] == DOCUMENTS

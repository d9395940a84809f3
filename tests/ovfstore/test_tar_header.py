# SPDX-License-Identifier: Apache-2.0
"""One header: the engine's exact shape, which is read a quicker way, and everything else."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.tar_header import Member, decode_header, encode_header, padded

WRITTEN_AT = WallTime(1795324583.0)
HEADER = encode_header("a.ovf", 1000, WRITTEN_AT)


def decoded(header: bytes) -> Member:
    return decode_header(header, 4096, "VOL", None)


def with_fields(**fields: tuple[int, bytes]) -> bytes:
    """HEADER with other bytes at some offsets, and a checksum that is right."""
    header = bytearray(HEADER)
    for offset, value in fields.values():
        header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def refusal(header: bytes) -> str:
    with pytest.raises(BadInput, match=r"^VOL, byte 4096: ") as caught:
        decoded(header)
    return str(caught.value)


@given(st.text(min_size=1, max_size=30), st.integers(0, 8**11 - 1))
def test_what_is_encoded_is_decoded(name: str, size_bytes: int) -> None:
    if "\0" in name or name[0] == "/" or ".." in name.split("/"):
        return
    try:
        header = encode_header(name, size_bytes, WRITTEN_AT)
    except UnicodeEncodeError:
        return  # lone surrogates
    except ValueError:
        assert len(name.encode()) > 100
        return
    assert decoded(header) == Member(name, 4096, 4608, size_bytes)


@given(st.integers(0, 147), st.binary(min_size=1, max_size=12))
def test_the_quick_way_judges_as_the_slow_one(offset: int, bent: bytes) -> None:
    bent = bent[: 148 - offset]
    answers: list[object] = []
    for owner in (b"", b"vdsm"):  # the engine names no owner: such a header goes the slow way
        try:
            answers.append(decoded(with_fields(bent=(offset, bent), owner=(265, owner))))
        except BadInput as error:
            answers.append(error.what)
    assert answers[0] == answers[1]


@given(st.integers(0, 511), st.integers(1, 255))
def test_both_ways_agree_with_tarfile_on_every_bent_byte(offset: int, change: int) -> None:
    header = bytearray(HEADER)
    header[offset] ^= change
    try:
        theirs = tarfile.TarInfo.frombuf(bytes(header), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        refusal(bytes(header))
        return
    # Only the checksum's own padding can bend without being noticed.
    assert 148 <= offset < 156
    try:
        ours = decoded(bytes(header))
    except BadInput:
        return
    assert (ours.name, ours.size_bytes) == (theirs.name, theirs.size) == ("a.ovf", 1000)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (b"1", "a hard link"),
        (b"2", "a symbolic link"),
        (b"5", "a folder"),
        (b"L", "a GNU long name"),
        (b"x", "a pax record"),
        (b"g", "a pax record for all"),
        (b"\xff", "unknown"),
    ],
)
def test_what_is_no_plain_file_is_named(kind: bytes, name: str) -> None:
    assert name in refusal(with_fields(kind=(156, kind)))


@pytest.mark.parametrize("name", ["../a.ovf", "/etc/passwd", "a/../../b", ".."])
def test_names_that_lead_out_are_refused(name: str) -> None:
    text = refusal(encode_header(name, 1, WRITTEN_AT))
    assert "leads out" in text
    assert repr(name) in text


def test_names_with_dots_are_just_names() -> None:
    assert decoded(encode_header("..a..ovf", 1, WRITTEN_AT)).name == "..a..ovf"


def test_a_prefix_comes_before_the_name_and_may_not_lead_out_either() -> None:
    assert decoded(with_fields(prefix=(345, b"folder"))).name == "folder/a.ovf"
    assert "leads out" in refusal(with_fields(prefix=(345, b"..")))


def test_what_follows_a_nul_is_no_part_of_the_name() -> None:
    assert decoded(with_fields(name=(0, b"a.ovf\0hidden"))).name == "a.ovf"
    assert "without a name" in refusal(with_fields(name=(0, b"\0a.ovf")))


@pytest.mark.parametrize(
    "size",
    [
        b"-0000000010 ",
        b"+0000000010 ",
        b"0000_000010 ",
        b"0o000000010 ",
        b"00000000018 ",
        b"           \0",
        b"\xff" * 12,
        b"\xc0" + bytes(11),
        b"0000 0001000",
        b"\xd9\xa0" * 6,
    ],
)
def test_sizes_that_are_none(size: bytes) -> None:
    assert "no valid size" in refusal(with_fields(size=(124, size)))


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (b"000000001750", 1000),
        (b"       1750\0", 1000),
        (b"\x80" + (1 << 40).to_bytes(11, "big"), 1 << 40),
    ],
)
def test_other_spellings_of_a_size(size: bytes, value: int) -> None:
    assert decoded(with_fields(size=(124, size))).size_bytes == value


def test_headers_of_gnu_tar_are_read() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("vm.conf")
        info.size, info.uname, info.gname = 3, "vdsm", "kvm"
        tar.addfile(info, io.BytesIO(b"abc"))
    assert decoded(file.getvalue()[:512]) == Member("vm.conf", 4096, 4608, 3)


def test_a_member_ends_where_the_next_one_begins() -> None:
    assert padded(0) == 0
    assert [padded(size) for size in (1, 512, 513)] == [512, 512, 1024]
    assert Member("a", 0, 512, 513).end_offset_bytes == 1536


@pytest.mark.parametrize(("start", "stop"), [(100, 108), (108, 116), (116, 124), (136, 148)])
def test_a_number_that_tar_would_stop_at_is_refused(start: int, stop: int) -> None:
    """Found by fuzzing: tarfile sees the archive end there, and an older content."""
    block = bytearray(encode_header("a.ovf", 5, WallTime(1e9)))
    block[start:stop] = b"9 x" + block[start + 3 : stop]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(BadInput, match="no valid"):
        decode_header(bytes(block), 0, "VOL", None)

# SPDX-License-Identifier: Apache-2.0
"""The archive codec: whole archives, every way to cut or bend one, and Python's own tarfile."""

from __future__ import annotations

import io
import pathlib
import tarfile
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_volume
from ha_agent.ovfstore.tar_volume import ReadAt, build_archive, list_members, read_member

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "volumes"
DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
ENGINE_VM = "11111111-2222-4333-8444-555555555555"
OTHER_VM = "99999999-2222-4333-8444-555555555555"
DATE = "Sun Nov 22 05:16:23 UTC 2026"
WRITTEN_AT = WallTime(1795324583.0)


def reader(data: bytes) -> ReadAt:
    return lambda offset, length: data[offset : offset + length]


def archive(*members: tuple[str, bytes]) -> bytes:
    return build_archive(DOMAIN, members, last_updated_text=DATE, written_at=WRITTEN_AT)


def read(data: bytes, described_size_bytes: Optional[int] = None) -> bytes:
    return read_member(
        reader(data),
        len(data),
        f"{ENGINE_VM}.ovf",
        where="VOL",
        described_size_bytes=described_size_bytes,
    )


def refusal(data: bytes, described_size_bytes: Optional[int] = None) -> str:
    with pytest.raises(BadInput) as caught:
        read(data, described_size_bytes)
    assert str(caught.value).startswith("VOL")
    return str(caught.value)


def with_header(data: bytes, start: int, **fields: tuple[int, bytes]) -> bytes:
    """Replace fields of the header at `start` and make its checksum right again."""
    header = bytearray(data[start : start + 512])
    for offset, value in fields.values():
        header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:start] + bytes(header) + data[start + 512 :]


SMALL = archive((OTHER_VM, b"other"), (ENGINE_VM, b"<ovf>new</ovf>"))
ENGINE_VM_HEADER = SMALL.index(ENGINE_VM.encode())


def test_build_then_read_gives_the_same_bytes() -> None:
    assert read(SMALL, described_size_bytes=len(SMALL)) == b"<ovf>new</ovf>"
    names = [member.name for member in list_members(reader(SMALL), len(SMALL), where="VOL")]
    assert names == ["info.json", f"{OTHER_VM}.ovf", f"{ENGINE_VM}.ovf", "metadata.json"]


def test_pythons_tarfile_reads_what_is_built() -> None:
    with tarfile.open(fileobj=io.BytesIO(SMALL)) as tar:
        member = tar.extractfile(f"{ENGINE_VM}.ovf")
        assert member is not None
        assert member.read() == b"<ovf>new</ovf>"
        assert {info.mode for info in tar} == {0o100644}


def test_the_engines_own_archive_is_rebuilt_byte_for_byte() -> None:
    path = SAMPLES / "ovf_store_1vm.tar"
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    sample = path.read_bytes()
    uuid = "eccb9cb6-affd-4806-8200-708370581227"
    ovf = read_member(
        reader(sample), len(sample), f"{uuid}.ovf", where="x", described_size_bytes=19968
    )
    assert len(ovf) == 16332
    built = build_archive(
        DOMAIN,
        [(uuid, ovf)],
        last_updated_text=DATE,
        written_at=WallTime(float(int("15300475247", 8))),
        vm_statuses={uuid: 1},
    )
    assert built == sample


def test_the_configuration_volume_is_read_without_info_json() -> None:
    path = SAMPLES / "heconf.tar"
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    data = path.read_bytes()
    names = {
        member.name
        for member in list_members(reader(data), len(data), where="x", first_member=None)
    }
    assert names == {"version", "fhanswers.conf", "hosted-engine.conf", "broker.conf", "vm.conf"}
    with pytest.raises(BadInput, match=r"begins with .*, not 'info\.json'"):
        list_members(reader(data), len(data), where="x")


def test_of_two_members_with_one_name_the_last_counts() -> None:
    data = archive((ENGINE_VM, b"old"), (OTHER_VM, b"x" * 5000), (ENGINE_VM, b"new"))
    assert read(data) == b"new"


def test_a_missing_member_is_named() -> None:
    assert f"no member '{ENGINE_VM}.ovf'" in refusal(archive((OTHER_VM, b"x")))


def test_an_old_tail_after_the_end_does_not_matter() -> None:
    volume = SMALL + archive((ENGINE_VM, b"old" * 999))[512:]
    assert read(volume) == b"<ovf>new</ovf>"
    assert read(volume, described_size_bytes=len(SMALL)) == b"<ovf>new</ovf>"


def test_every_truncation_is_refused() -> None:
    for length in range(len(SMALL)):
        text = refusal(SMALL[:length])
        assert "truncated" in text or "empty" in text, (length, text)
        assert "truncated" in refusal(SMALL[:length], described_size_bytes=len(SMALL))


def test_every_truncation_zeroed_to_full_length_is_refused_when_the_size_is_known() -> None:
    # A block volume that was zero before: the update stopped, the rest reads as zeros.
    last = list_members(reader(SMALL), len(SMALL), where="VOL")[-1]
    # Within the last header its trailing zeros, and within the last member its data, carry
    # nothing that this codec could check; metadata.json is last, and not what is read here.
    last_checked = last.header_offset_bytes + 337 + len("0000000 ")
    for length in range(last_checked):
        volume = SMALL[:length] + bytes(len(SMALL) - length)
        if volume != SMALL:
            refusal(volume, described_size_bytes=len(SMALL))


def test_every_flipped_bit_of_a_header_is_refused_or_harmless() -> None:
    for offset in range(ENGINE_VM_HEADER, ENGINE_VM_HEADER + 512):
        for bit in range(8):
            bent = bytearray(SMALL)
            bent[offset] ^= 1 << bit
            if 148 <= offset - ENGINE_VM_HEADER < 156:
                # The checksum's own padding (NUL for blank) may bend without changing its value.
                try:
                    assert read(bytes(bent)) == b"<ovf>new</ovf>"
                except BadInput:
                    continue
            else:
                text = refusal(bytes(bent))
                assert f"byte {ENGINE_VM_HEADER}" in text


def test_an_update_torn_on_a_block_volume_is_refused() -> None:
    old = archive(*((f"{n:08}-2222-4333-8444-555555555555", b"o" * 900 * n) for n in range(1, 9)))
    new = archive((ENGINE_VM, b"n" * 3000), *((f"{n:08}-x", b"p" * 700 * n) for n in range(1, 9)))
    for tenth in range(1, 10):
        cut = len(new) * tenth // 10
        volume = new[:cut] + old[cut:]
        refusal(volume, described_size_bytes=len(new))


@pytest.mark.parametrize("described_error_bytes", [-1024, -512, 512, 1024])
def test_the_archive_must_end_where_the_description_says(described_error_bytes: int) -> None:
    volume = SMALL + bytes(4096)
    text = refusal(volume, described_size_bytes=len(SMALL) + described_error_bytes)
    assert "torn" in text or "truncated" in text


def test_a_described_size_beyond_the_volume_is_refused() -> None:
    assert "the volume holds" in refusal(SMALL, described_size_bytes=len(SMALL) + 1)


def test_one_zero_block_is_not_an_end() -> None:
    assert "one zero block" in refusal(SMALL[:-512] + b"x" * 512)


@pytest.mark.parametrize(
    ("size_field", "expected"),
    [
        (b"00000000009 ", "no valid size"),
        (b"-0000000016 ", "no valid size"),
        (b"+0000000016 ", "no valid size"),
        (b"0x0000000016", "no valid size"),
        (b"            ", "no valid size"),
        (b"\xff" * 12, "no valid size"),
        (b"\xff" * 11 + b"\xf0", "no valid size"),
        (b"\x81" + b"\0" * 11, "no valid size"),
        (b"77777777777 ", "goes beyond"),
        (b"\x80" + b"\xff" * 11, "goes beyond"),
        (b"\x80\x00\x00\x00\x7f" + b"\xff" * 7, "goes beyond"),
        (b"00000001017 ", "header after"),
    ],
)
def test_sizes_that_lie(size_field: bytes, expected: str) -> None:
    assert expected in refusal(with_header(SMALL, ENGINE_VM_HEADER, size=(124, size_field)))


def test_a_base_256_size_is_understood() -> None:
    field = b"\x80" + (14).to_bytes(11, "big")
    assert read(with_header(SMALL, ENGINE_VM_HEADER, size=(124, field))) == b"<ovf>new</ovf>"


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5", b"x", b"g", b"L", b"K", b"S"])
def test_links_directories_and_extensions_are_refused(kind: bytes) -> None:
    assert "not a regular file" in refusal(with_header(SMALL, ENGINE_VM_HEADER, t=(156, kind)))


def test_a_name_that_is_not_utf8_or_empty_is_refused() -> None:
    assert "not UTF-8" in refusal(with_header(SMALL, ENGINE_VM_HEADER, name=(0, b"\xff\xfe")))
    nameless = with_header(SMALL, ENGINE_VM_HEADER, name=(0, bytes(100)))
    assert "without a name" in refusal(nameless)


def test_a_wrong_checksum_that_is_not_octal_is_refused() -> None:
    bent = SMALL[: ENGINE_VM_HEADER + 148] + b"garbage!" + SMALL[ENGINE_VM_HEADER + 156 :]
    assert "checksum" in refusal(bent)


@pytest.mark.parametrize("size_bytes", [0, 511, 512, 4096, 1024 * 1024])
def test_a_zeroed_volume_is_empty_not_a_crash(size_bytes: int) -> None:
    text = refusal(bytes(size_bytes))
    assert "empty" in text or "truncated" in text


def test_storage_that_reads_short_is_reported() -> None:
    with pytest.raises(BadInput, match="truncated: 3 of 512 bytes"):
        list_members(lambda _offset, _length: b"abc", 1 << 20, where="VOL")


def test_a_member_over_the_limit_is_refused_before_it_is_read() -> None:
    size_bytes = tar_volume.MEMBER_LIMIT_BYTES + 1
    head = archive((ENGINE_VM, b""))
    start = head.index(ENGINE_VM.encode())
    data = with_header(head, start, size=(124, b"%011o " % size_bytes))
    data = data[: start + 512] + bytes(size_bytes + (-size_bytes % 512)) + data[start + 512 :]
    reads: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    with pytest.raises(BadInput, match="more than 8388608"):
        read_member(read_at, len(data), f"{ENGINE_VM}.ovf", where="VOL")
    assert max(reads) == 512


def test_the_walk_reads_headers_only() -> None:
    data = archive(*((f"{n:036}", b"x" * 20000) for n in range(50)), (ENGINE_VM, b"it"))
    total = 0

    def read_at(offset: int, length: int) -> bytes:
        nonlocal total
        total += length
        return data[offset : offset + length]

    assert read_member(read_at, len(data), f"{ENGINE_VM}.ovf", where="VOL") == b"it"
    assert total == 512 * (50 + 3 + 2) + 2


def test_a_name_that_does_not_fit_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="not a name"):
        tar_volume.encode_header("x" * 101, 0, WRITTEN_AT)
    with pytest.raises(ValueError, match="does not fit"):
        tar_volume.encode_header("x", 8**11, WRITTEN_AT)


@given(st.binary(max_size=2048))
def test_garbage_is_refused_with_a_place(data: bytes) -> None:
    refusal(data)


@given(
    st.lists(st.tuples(st.uuids().map(str), st.binary(max_size=1500)), max_size=5),
    st.binary(max_size=1500),
)
def test_any_content_comes_back(others: list[tuple[str, bytes]], content: bytes) -> None:
    data = archive(*others, (ENGINE_VM, content))
    assert read(data, described_size_bytes=len(data)) == content
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getmembers()) == len(others) + 3

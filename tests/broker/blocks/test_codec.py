# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.blocks import codec as block_codec
from ha_agent.broker.blocks.codec import (
    BlockError,
    BlockTooNew,
    BlockTooOld,
    GlobalBlock,
    StatusBlock,
    decode,
    decode_global,
    encode,
    encode_global,
    human_values,
    key_value_lines,
    line_values,
)
from ha_agent.sim.old_peer import old_block
from tests.broker.blocks.old_reader import Fatal, read_global, read_slot

SAMPLES = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data" / "volumes"

DOWN_WORDS = {"vm": "down", "health": "bad", "detail": "Down"}
DOWN = {"detail": "unknown", "reason": "vm not running on this host"}
HOSTS = [
    (4242, 4200, 3400, {"vm": "up", "health": "good", "detail": "Up"}, "EngineUp", False, False),
    (
        9001,
        8990,
        3400,
        {"vm": "down_missing", "health": "bad", **DOWN},
        "EngineDown",
        False,
        False,
    ),
    (555, 500, 0, {"vm": "down", "health": "bad", **DOWN}, "LocalMaintenance", True, False),
    (
        77,
        70,
        0,
        {"vm": "down_unexpected", "health": "bad", "detail": "Down", "reason": "bad vm status"},
        "AgentStopped",
        False,
        True,
    ),
]
"""What facts/ovf-and-volumes.md 4.3 says that the sample slots 1..4 hold."""


def host_block(host_id: int) -> StatusBlock:
    timestamp, conf, score, status, _, maintenance, stopped = HOSTS[host_id - 1]
    return StatusBlock(
        host_id=host_id,
        host_name=f"host{host_id}.example.com",
        timestamp_seconds=timestamp,
        score=score,
        engine_status=status,
        maintenance=maintenance,
        stopped=stopped,
        conf_on_shared_storage=True,
        local_conf_timestamp=conf,
    )


def utc_text(timestamp_seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(1700000000 + timestamp_seconds, datetime.timezone.utc)
    return moment.strftime("%a %b %d %H:%M:%S %Y")


def host_lines(host_id: int) -> list[str]:
    block = host_block(host_id)
    values = human_values(
        block,
        state=HOSTS[host_id - 1][4],
        timestamp_text=utc_text(block.timestamp_seconds),
        conf_refresh_text=utc_text(block.local_conf_timestamp or 0),
    )
    return key_value_lines(values)


def sample(slot: int) -> bytes:
    path = SAMPLES / f"status_block_host{slot}.bin"
    if not path.exists():
        pytest.skip("no samples beside this checkout")
    return path.read_bytes()


def with_crc(tokens: list[str]) -> bytes:
    """Build a slot from tokens, with the CRC worked out here and not by the code under test."""
    text = "|".join([*tokens[:9], "00000000", *tokens[10:]])
    tokens = [*tokens[:9], f"{zlib.crc32(text.encode()):08x}", *tokens[10:]]
    return "|".join(tokens).encode().ljust(4096, b"\0")


TOKENS = ["1", "1", "42", "7", "3400", '{"vm": "up"}', "h7", "0", "0", "", "1", "40"]


class TestGolden:
    @pytest.mark.parametrize("slot", [1, 2, 3, 4])
    def test_encode_gives_the_predecessors_bytes(self, slot: int) -> None:
        assert encode(host_block(slot), host_lines(slot)) == sample(slot)

    @pytest.mark.parametrize("slot", [1, 2, 3, 4])
    def test_decode_reads_the_predecessors_bytes(self, slot: int) -> None:
        block = decode(sample(slot), slot=slot)
        assert block == host_block(slot)
        assert block is not None
        assert block.extra.splitlines() == host_lines(slot)

    def test_global_block_both_ways(self) -> None:
        assert encode_global(GlobalBlock(maintenance=True)) == sample(0)
        assert decode_global(sample(0)) == GlobalBlock(maintenance=True)

    def test_first_line_of_host_1_as_written_in_the_facts(self) -> None:
        text = (
            b'1|1|4242|1|3400|{"vm": "up", "health": "good", "detail": "Up"}|host1.example.com'
            b"|0|0|4cf8471f|1|4200"
        )
        slot = encode(host_block(1))
        assert slot[:512] == text.ljust(512, b"\0")
        assert slot[512:] == bytes(4096 - 512)
        block = decode(slot, slot=1)
        assert block is not None
        assert block.crc32 == "4cf8471f"


class TestDamage:
    def test_every_flipped_bit_of_the_status_part_is_refused(self) -> None:
        good = encode(host_block(2), host_lines(2))
        for bit in range(512 * 8):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            with pytest.raises(BlockError):
                decode(bytes(bad), slot=2)

    def test_every_truncation_of_the_text_is_refused_or_has_no_crc(self) -> None:
        """What ends after the host name can't be told from an old host's short block."""
        good = encode(host_block(1))
        without_crc = []
        for kept in range(1, len(good.rstrip(b"\0"))):
            try:
                block = decode(good[:kept].ljust(4096, b"\0"), slot=1)
            except BlockError:
                continue
            assert block is not None
            assert block.crc32 is None
            without_crc.append(good[:kept].count(b"|") + 1)
        assert set(without_crc) <= {7, 8, 9}

    @pytest.mark.parametrize("length", [0, 511, 512, 4095, 4097])
    def test_other_lengths_are_refused(self, length: int) -> None:
        data = encode(host_block(1)).ljust(4097, b"\0")[:length]
        with pytest.raises(BlockError, match=f"slot 1: {length} bytes"):
            decode(data, slot=1)

    def test_not_utf8_names_slot_and_byte(self) -> None:
        bad = bytearray(encode(host_block(1)))
        bad[70] = 0xFF
        with pytest.raises(BlockError, match="slot 1, byte 70: not UTF-8"):
            decode(bytes(bad), slot=1)

    def test_another_hosts_block_is_refused(self) -> None:
        with pytest.raises(BlockError, match="slot 3: holds the block of host 1"):
            decode(encode(host_block(1)), slot=3)

    def test_newer_parse_version_is_its_own_error(self) -> None:
        with pytest.raises(BlockTooNew, match="format version 2"):
            decode(b"2|whatever comes then".ljust(4096, b"\0"), slot=7)

    def test_too_few_fields(self) -> None:
        with pytest.raises(BlockError, match="6 fields"):
            decode(b"1|1|42|7|3400|x".ljust(4096, b"\0"), slot=7)

    @pytest.mark.parametrize(("place", "text"), [(2, "x"), (4, "3_400"), (7, "no"), (11, "")])
    def test_a_field_that_is_not_a_number(self, place: int, text: str) -> None:
        tokens = [*TOKENS[:place], text, *TOKENS[place + 1 :]]
        with pytest.raises(BlockError, match="not a number"):
            decode(with_crc(tokens), slot=7)

    def test_zeroed_status_part_with_text_left_is_an_empty_slot(self) -> None:
        assert decode(bytes(512) + b"state=EngineUp\n".ljust(3584, b"\0"), slot=1) is None

    def test_damaged_lines_for_people_do_not_lose_the_block(self) -> None:
        bad = bytearray(encode(host_block(1), host_lines(1)))
        bad[512] = 0xFF
        block = decode(bytes(bad), slot=1)
        assert block == host_block(1)
        assert block is not None
        assert block.extra.startswith("\ufffdetadata")

    @given(st.binary(max_size=512), st.integers(1, 2000))
    def test_garbage_is_refused_or_empty(self, data: bytes, slot: int) -> None:
        try:
            assert decode(data.ljust(4096, b"\0"), slot=slot) is None
        except BlockError:
            assert any(data)


class TestOtherWriters:
    def test_blocks_of_old_hosts_lack_the_last_fields(self) -> None:
        seven = decode("|".join(TOKENS[:7]).encode().ljust(4096, b"\0"), slot=7)
        assert seven is not None
        assert (seven.maintenance, seven.stopped, seven.crc32) == (None, None, None)
        nine = decode("|".join(TOKENS[:9]).encode().ljust(4096, b"\0"), slot=7)
        assert nine is not None
        assert (nine.maintenance, nine.stopped) == (False, False)
        ten = decode(with_crc(TOKENS[:10]), slot=7)
        assert ten is not None
        assert ten.local_conf_timestamp is None

    def test_later_feature_version_may_add_fields(self) -> None:
        block = decode(with_crc(["1", "2", *TOKENS[2:], "more", "and more"]), slot=7)
        assert block is not None
        assert block.feature_version == 2
        assert block.local_conf_timestamp == 40

    def test_engine_status_that_is_not_json_is_kept_as_text(self) -> None:
        tokens = [*TOKENS[:5], "vm-up good-health-status", *TOKENS[6:]]
        block = decode(with_crc(tokens), slot=7)
        assert block is not None
        assert block.engine_status == "vm-up good-health-status"


class TestEncode:
    def test_long_reason_is_cut_and_nothing_else(self) -> None:
        status = {"vm": "down", "health": "bad", "detail": "Down", "reason": "é" * 5000}
        block = dataclasses.replace(host_block(1), engine_status=status)
        slot = encode(block)
        assert 512 - 12 <= len(slot[:512].rstrip(b"\0")) <= 512
        read = decode(slot, slot=1)
        assert read is not None
        assert isinstance(read.engine_status, dict)
        assert read.host_name == "host1.example.com"
        reason = read.engine_status["reason"]
        assert {**status, "reason": reason} == read.engine_status
        assert len(reason) > 40
        assert set(reason) == {"é"}

    def test_a_host_name_is_never_cut(self) -> None:
        with pytest.raises(BlockError, match="slot 1: status of 593 bytes"):
            encode(dataclasses.replace(host_block(1), host_name="h" * 512))

    @pytest.mark.parametrize("name", ["", "a|b", "a\nb", "a\0", "\udcff"])
    def test_host_names_that_would_break_the_format(self, name: str) -> None:
        with pytest.raises(BlockError, match="host name"):
            encode(dataclasses.replace(host_block(1), host_name=name))

    def test_status_text_that_would_break_the_format(self) -> None:
        with pytest.raises(BlockError, match="slot 1: a status text"):
            encode(dataclasses.replace(host_block(1), engine_status="a|b"))

    def test_slot_0_is_not_a_hosts(self) -> None:
        with pytest.raises(BlockError, match="at least 1"):
            encode(dataclasses.replace(host_block(1), host_id=0))

    def test_too_many_extra_lines(self) -> None:
        with pytest.raises(BlockError, match="extra lines"):
            encode(host_block(1), ["k=" + "v" * 3583])
        assert len(encode(host_block(1), ["k=" + "v" * 3581])) == 4096

    @pytest.mark.parametrize("line", ["a=b\nc=d", "a=\0"])
    def test_an_extra_line_is_one_line(self, line: str) -> None:
        with pytest.raises(BlockError, match="inside an extra line"):
            encode(host_block(1), [line])

    def test_lines_have_a_single_equals_sign(self) -> None:
        lines = key_value_lines({"why": "score=3400\nbest", "timeout": "c"})
        assert lines == ["why=score:3400 best", "timeout=c"]

    def test_lines_come_back_as_a_map(self) -> None:
        data = encode(host_block(1), [*host_lines(1), "memory_mib=4096"])
        block = decode(data, slot=1)
        assert block is not None
        assert (block.lines["state"], block.lines["memory_mib"]) == (HOSTS[0][4], "4096")
        assert len(block.lines) == len(host_lines(1)) + 1

    def test_a_block_that_is_in_use_is_not_read_again(self) -> None:
        data = encode(host_block(1), host_lines(1))
        block = decode(data, slot=1)
        assert decode(bytes(bytearray(data)), slot=1) is block
        with pytest.raises(BlockError, match="holds the block of host 1"):
            decode(data, slot=2)

    def test_odd_lines_are_passed_over(self) -> None:
        assert line_values("") == {}
        assert line_values("a\nb=1\n\nb=2\nc=x=y\n") == {"b": "1", "c": "x=y"}

    @given(
        host_id=st.integers(1, 2000),
        name=st.from_regex(r"[a-z0-9.-]{1,64}", fullmatch=True),
        timestamp=st.integers(0, 2**40),
        score=st.integers(0, 3400),
        status=st.dictionaries(st.sampled_from(["reason", "owner"]), st.text(max_size=6)).map(
            lambda more: {**DOWN_WORDS, **more}
        ),
        flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
        conf=st.integers(0, 2**40),
    )
    def test_round_trip(
        self,
        host_id: int,
        name: str,
        timestamp: int,
        score: int,
        status: dict[str, str],
        flags: tuple[bool, bool, bool],
        conf: int,
    ) -> None:
        block = StatusBlock(host_id, name, timestamp, score, status, *flags, conf)
        slot = encode(block, ["state=x"])
        assert decode(slot, slot=host_id) == block
        said = read_slot(host_id, slot.decode("ascii"))
        assert said["engine-status"] == status
        assert (said["score"], said["maintenance"], said["stopped"]) == (score, *flags[:2])

    @given(
        st.dictionaries(st.text(max_size=30), st.text(max_size=400), max_size=4).map(
            lambda more: {**more, **DOWN_WORDS}
        )
    )
    def test_any_status_fits_or_is_refused(self, status: dict[str, str]) -> None:
        block = dataclasses.replace(host_block(1), engine_status=status)
        try:
            slot = encode(block)
        except BlockError:
            return
        read = decode(slot, slot=1)
        assert read is not None
        assert isinstance(read.engine_status, dict)
        for key, value in read.engine_status.items():
            assert status[key].startswith(value)

    @pytest.mark.parametrize("line", ["reason=für", "a=\u2026"])
    def test_a_line_that_would_shift_all_later_slots_for_old_hosts(self, line: str) -> None:
        with pytest.raises(BlockError, match="not ASCII"):
            encode(host_block(1), [line])

    @pytest.mark.parametrize(
        "status",
        [
            {},
            {"vm": "up"},
            {"vm": "up", "health": "good"},
            {"vm": "up", "health": "unknown", "detail": "Up"},
            {"vm": "off", "health": "bad", "detail": "Off"},
            {"vm": "down"},
        ],
    )
    def test_an_engine_status_that_would_end_old_agents(self, status: dict[str, str]) -> None:
        with pytest.raises(BlockError, match="would end old agents"):
            encode(dataclasses.replace(host_block(1), engine_status=status))


OLD_STATUSES = [
    {"vm": "up", "health": "good", "detail": "Up"},
    *({"vm": "up", "health": "bad", "detail": detail, "reason": "bad vm status"}
      for detail in ("Paused", "WaitForLaunch", "RestoringState", "Powering up")),
    {"vm": "up", "health": "bad", "detail": "Up", "reason": "failed liveliness check"},
    {"vm": "up", "health": "bad", "detail": "Migration Source",
     "reason": "failed liveliness check"},
    *({"vm": vm, "health": "bad", "detail": "Down", "reason": "bad vm status"}
      for vm in ("down", "down_unexpected")),
    {"vm": "down", "health": "bad", "detail": "Migration Destination", "reason": "bad vm status"},
    {"vm": "down", "health": "bad", "detail": "Down",
     "reason": "Storage of VM is locked. Is another host already starting the VM?"},
    {"vm": "down", "health": "bad", "detail": "Down",
     "reason": "VM migrated away successfully"},
    *({"vm": vm, "health": "bad", "detail": "unknown", "reason": "vm not running on this host"}
      for vm in ("down", "down_missing")),
    {"vm": "unknown", "health": "unknown", "detail": "unknown", "reason": "failed to getVmStats"},
]  # fmt: skip
"""All that its engine_health.py says."""


class TestOldHosts:
    """What the predecessor writes, by a writer of its own (sim/old_peer.py)."""

    @pytest.mark.parametrize("status", OLD_STATUSES, ids=lambda s: f"{s['vm']}-{s['detail']}")
    @pytest.mark.parametrize(("state", "timeout"), [
        ("EngineUp", ""), ("AgentStopped", ""), ("EngineStop", "Thu Jan  1 00:05:00 1970"),
        ("EngineUnexpectedlyDown", "Thu Jan  1 00:09:20 1970"), ("StartState", ""),
    ])  # fmt: skip
    def test_each_block_is_read_and_written_again_to_the_byte(
        self, status: dict[str, str], state: str, timeout: str
    ) -> None:
        stopped = state == "AgentStopped"
        data = old_block(
            7, "h7.example.com", 4242, 3400, json.dumps(status), False, state, stopped, timeout
        )
        block = decode(data, slot=7)
        assert block is not None
        assert (block.engine_status, block.stopped) == (status, stopped)
        assert block.lines["state"] == state
        assert block.lines.get("timeout", "") == timeout
        assert encode(block, block.extra.splitlines()) == data

    def test_a_host_name_that_is_not_ascii_shifts_what_comes_after_it(self) -> None:
        """It pads text to 512 characters, so that its lines begin a byte later."""
        data = old_block(7, "höst", 1, 3400, json.dumps(DOWN_WORDS), False, "EngineDown")
        block = decode(data[:4096], slot=7)
        assert block is not None
        assert (block.host_name, block.lines["state"]) == ("höst", "EngineDown")

    @pytest.mark.parametrize("reason", ['say "no"', "back\\slash", "two\nlines", "tür"])
    def test_what_json_escapes(self, reason: str) -> None:
        text = json.dumps({**DOWN_WORDS, "reason": reason})
        block = decode(old_block(7, "h7", 1, 3400, text, False, "EngineDown"), slot=7)
        assert block is not None
        assert isinstance(block.engine_status, dict)
        assert block.engine_status["reason"] == reason
        assert encode(block)[:512].rstrip(b"\0").decode().split("|")[5] == text

    def test_a_bar_in_its_detail_breaks_its_block_for_everybody(self) -> None:
        text = json.dumps({**DOWN_WORDS, "detail": "a|b"})
        with pytest.raises(BlockError, match="damaged"):
            decode(old_block(7, "h7", 1, 3400, text, False, "EngineDown"), slot=7)

    def test_too_new_is_told_from_its_digits_alone(self) -> None:
        with pytest.raises(BlockTooNew, match="too new: format version 12"):
            decode(b"12;\xff\xfe".ljust(4096, b"\0"), slot=7)

    def test_too_old(self) -> None:
        with pytest.raises(BlockTooOld, match="too old: feature version 0"):
            decode(with_crc(["1", "0", *TOKENS[2:]]), slot=7)


class TestGlobal:
    @pytest.mark.parametrize(
        ("text", "maintenance"),
        [
            (b"maintenance=1", True),
            (b"maintenance=0", False),
            (b"maintenance=True\n", True),
            (b"maintenance=no", False),
            (b"other=1\nmaintenance=y\n", True),
        ],
    )
    def test_tolerant_reading(self, text: bytes, maintenance: bool) -> None:
        assert decode_global(text.ljust(4096, b"\0")) == GlobalBlock(maintenance)

    def test_never_written(self) -> None:
        assert decode_global(bytes(4096)) is None

    @pytest.mark.parametrize("maintenance", [True, False])
    def test_old_hosts_read_ours(self, maintenance: bool) -> None:
        text = encode_global(GlobalBlock(maintenance)).decode("ascii")
        assert read_global(text) == {"maintenance": maintenance}

    @pytest.mark.parametrize("text", ["maintenance=1\n", "maintenance=1\nnote=a=b"])
    def test_a_line_end_or_a_second_sign_would_end_them(self, text: str) -> None:
        with pytest.raises(Fatal):
            read_global(text.ljust(4096, "\0"))

    @pytest.mark.parametrize("text", [b"maintenance=", b"maintenance=maybe", b"x=1"])
    def test_garbage_names_slot_0(self, text: bytes) -> None:
        with pytest.raises(BlockError, match="slot 0: "):
            decode_global(text.ljust(4096, b"\0"))

    @given(st.booleans())
    def test_round_trip(self, maintenance: bool) -> None:
        block = GlobalBlock(maintenance)
        assert decode_global(encode_global(block)) == block
        assert len(encode_global(block)) == block_codec.SLOT_BYTES

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.lease.rules import (
    BLOCK_SIZE_BYTES,
    GUARD_POLL_SECONDS,
    LeaseFormatError,
    LeaseIdentity,
    LeaseNotInitialised,
    LeaseObserver,
    LeaseRecord,
    LeaseTimes,
    clean_note,
    decode,
    encode,
    initial_record,
)
from ha_agent.instant import Instant

TIMES = LeaseTimes()
IDENTITY = LeaseIdentity(2, "alpha", "inst-2", "vm-1")
HELD = LeaseRecord("held", 2, "alpha", "inst-2", "vm-1", 7, 100, "taken: free")

line = st.text(max_size=60).map(clean_note)
records = st.builds(
    LeaseRecord,
    state=st.sampled_from(["held", "free"]),
    host_id=st.integers(1, 65535),
    host_name=line,
    instance=line.filter(bool),
    vm_uuid=line,
    epoch=st.integers(0, 2**63 - 1),
    counter=st.integers(0, 2**63 - 1),
    note=line,
)


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds)


# Times.


def test_the_defaults_are_safe_and_fence_at_eleven_seconds() -> None:
    assert TIMES.faults() == []
    assert TIMES.fence_after_seconds == 11.0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"renew_interval_seconds": 3.7}, "3 * renew_interval_seconds"),
        ({"renew_deadline_seconds": 8.0}, "renew_deadline_seconds"),
        ({"fence_margin_seconds": 0.4}, "fence_margin_seconds"),
        ({"fence_margin_seconds": -1.0}, "fence_margin_seconds"),
        ({"lease_expiry_seconds": 13.0}, "3 * renew_interval_seconds"),
        ({"takeover_step_seconds": 0.0}, "takeover_step_seconds"),
        ({"lease_expiry_seconds": float("nan")}, "lease_expiry_seconds"),
    ],
)
def test_times_that_do_not_fit_are_named(changed: dict[str, float], named: str) -> None:
    assert any(named in fault for fault in LeaseTimes(**changed).faults())


# Codec.


@given(records)
def test_round_trip(record: LeaseRecord) -> None:
    block = encode(record)
    assert len(block) == BLOCK_SIZE_BYTES
    assert decode(block) == record


def test_the_block_reads_as_text() -> None:
    body = (
        b"ha-agent-lease 1\nstate: held\nhost_id: 2\nhost_name: alpha\ninstance: inst-2\n"
        b"vm_uuid: vm-1\nepoch: 7\ncounter: 100\nnote: taken: free\n"
    )
    golden = body + b"crc32: %08x\n" % zlib.crc32(body)
    assert encode(HELD) == golden.ljust(4096, b"\0")


@given(st.integers(0, BLOCK_SIZE_BYTES * 8 - 1))
def test_no_flipped_bit_goes_unseen(bit: int) -> None:
    block = bytearray(encode(HELD))
    block[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LeaseFormatError):
        decode(bytes(block))


def test_no_half_written_block_decodes() -> None:
    old, new = encode(HELD), encode(HELD.renewed().released("x" * 50))
    for cut in range(1, 300):
        mixed = new[:cut] + old[cut:]
        if mixed not in (old, new):
            with pytest.raises(LeaseFormatError):
                decode(mixed)


def test_zeros_are_told_apart_and_never_free() -> None:
    with pytest.raises(LeaseNotInitialised, match="never been initialised"):
        decode(bytes(BLOCK_SIZE_BYTES), "/shared/lease")


def with_crc(body: bytes) -> bytes:
    return (body + b"crc32: %08x\n" % zlib.crc32(body)).ljust(4096, b"\0")


GOOD = encode(HELD).split(b"crc32", 1)[0]


@pytest.mark.parametrize(
    ("block", "named"),
    [
        (b"\x7fELF" + bytes(4092), "not a lease record"),
        (b"x" * 4096, "not a lease record"),
        (b"ha-agent-lease 2\nanything", "version b'2'"),
        (encode(HELD)[:-1], "4095 bytes"),
        (GOOD, "no crc32"),
        (with_crc(GOOD.replace(b"held", b"lost")), "unknown state 'lost'"),
        (with_crc(GOOD.replace(b"epoch: 7", b"epoch: -7")), "epoch is not a number"),
        (with_crc(GOOD.replace(b"epoch: 7", b"epoch: 07")), "not written as"),
        (with_crc(GOOD.replace(b"epoch: 7", b"epoch: " + b"9" * 19)), "epoch out of range"),
        (with_crc(GOOD.replace(b"epoch: 7", b"epoch: " + b"9" * 2000)), "epoch is not a number"),
        (with_crc(GOOD.replace(b"counter: ", b"count: ")), "'count' where 'counter'"),
        (with_crc(GOOD + b"more: 1\n"), "9 fields"),
        (with_crc(GOOD.replace(b"alpha", b"\xff\xfe")), "not UTF-8"),
        (with_crc(GOOD.replace(b"alpha", b"al\x1bpha")), "host_name does not fit"),
        (with_crc(GOOD.replace(b"host_id: 2", b"host_id: 0")), "held, but by nobody"),
        (encode(HELD)[:-4] + b"tail", "after the end"),
    ],
)
def test_what_is_wrong_is_named(block: bytes, named: str) -> None:
    if len(block) not in (4095, 4096):
        block = block.ljust(4096, b"\0")
    with pytest.raises(LeaseFormatError, match=named) as caught:
        decode(block, "/shared/lease")
    assert "/shared/lease" in str(caught.value)


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(LeaseFormatError):
        decode(data.ljust(4096, b"\0"))


def test_a_note_of_any_text_fits() -> None:
    record = HELD.released("two\nlines\0and\x1b more " + "x" * 9999)
    assert decode(encode(record)) == record
    with pytest.raises(LeaseFormatError, match="host_name"):
        encode(dataclasses.replace(HELD, host_name="a\nstate: free"))


# Records.


def test_a_take_raises_the_epoch_above_all_that_were_seen() -> None:
    taken = HELD.taken(LeaseIdentity(3, "beta", "inst-3", "vm-1"), after_epoch=9, note="expired")
    assert (taken.epoch, taken.host_id, taken.state) == (10, 3, "held")
    assert taken.order > HELD.order


def test_every_write_changes_the_order() -> None:
    assert HELD.renewed().order > HELD.order
    assert HELD.released("x").order > HELD.order
    assert HELD.held_by(IDENTITY)
    assert not HELD.released("x").held_by(IDENTITY)


# Judgement.


def watching(record: LeaseRecord = HELD, received: float = 0.0) -> LeaseObserver:
    observer = LeaseObserver(TIMES)
    observer.saw(record, at(received - 0.1), at(received))
    return observer


def test_nothing_read_is_unknown() -> None:
    assert LeaseObserver(TIMES).judge().state == "unknown"


def test_the_wait_counts_from_when_the_reply_was_in() -> None:
    observer = LeaseObserver(TIMES)
    observer.saw(HELD, sent=at(0.0), received=at(4.0))
    assert observer.judge().expires_at == at(19.0)
    observer.saw(HELD, sent=at(18.9), received=at(18.9))
    assert observer.judge().state == "held"
    observer.saw(HELD, sent=at(19.0), received=at(19.1))
    assert observer.judge().state == "expired"


def test_only_a_read_that_was_sent_after_the_wait_proves_expiry() -> None:
    observer = watching()
    observer.saw(HELD, sent=at(14.9), received=at(18.0))
    assert observer.judge().state == "held"


def test_silence_proves_nothing() -> None:
    observer = watching()
    assert observer.judge().state == "held"  # and no read has come since, however long


def test_a_renewal_begins_the_wait_again() -> None:
    observer = watching()
    observer.saw(HELD.renewed(), at(14.0), at(14.1))
    observer.saw(HELD.renewed(), at(16.0), at(16.1))
    assert observer.judge().state == "held"
    assert observer.judge().expires_at == at(29.1)


def test_going_back_begins_the_wait_again_and_free_is_not_believed() -> None:
    observer = watching()
    older_free = dataclasses.replace(HELD, state="free", epoch=6)
    observer.saw(older_free, at(10.0), at(10.1))
    judged = observer.judge()
    assert (judged.state, judged.expires_at) == ("held", at(25.1))
    assert "backwards" in judged.reason
    observer.saw(older_free, at(25.2), at(25.3))
    assert observer.judge().state == "free"
    assert observer.highest_epoch == 7


def test_a_stale_sight_does_not_shorten_the_wait() -> None:
    observer = watching()
    newer = HELD.renewed()
    observer.saw(newer, at(3.0), at(3.1))
    observer.saw(HELD, at(4.0), at(4.1))  # a stale read
    observer.saw(newer, at(5.0), at(5.1))
    observer.saw(newer, at(18.2), at(18.3))
    assert observer.judge().state == "held"
    observer.saw(newer, at(20.2), at(20.3))
    assert observer.judge().state == "expired"


def test_two_writers_of_one_counter_are_distrusted() -> None:
    observer = watching()
    observer.saw(dataclasses.replace(HELD, state="free", note="?"), at(1.0), at(1.1))
    assert observer.judge().state == "held"


def test_a_release_is_free_at_once() -> None:
    observer = watching()
    observer.saw(HELD.released("moved"), at(2.0), at(2.1))
    judged = observer.judge()
    assert (judged.state, judged.since) == ("free", at(2.1))


def test_garbage_is_unreadable_and_the_wait_begins_anew_after_it() -> None:
    observer = watching()
    observer.saw_unreadable("crc32 does not match")
    assert observer.judge().state == "unreadable"
    observer.saw(HELD, at(15.5), at(15.6))
    assert (observer.judge().state, observer.judge().expires_at) == ("held", at(30.6))


def test_a_new_lock_file_is_free() -> None:
    assert watching(initial_record()).judge().state == "free"


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 6.0),  # until the next read is sent
            st.floats(0.0, 4.0),  # the request's way, then the answer's
            st.floats(0.0, 4.0),
            st.booleans(),  # the answer is lost
        ),
        min_size=5,
        max_size=40,
    ),
    st.floats(0.0, 30.0),
    st.floats(0.0, 4.0),
    st.floats(0.97, 1.03),
)
def test_expired_is_never_said_before_the_owner_has_fenced(
    reads: list[tuple[float, float, float, bool]],
    last_renewal: float,
    write_delay: float,
    drift: float,
) -> None:
    """Whatever delays reads and the last renewal: judged expired only after T + fence_after."""
    visible_at = last_renewal + write_delay  # all in true seconds; the owner's clock is true
    older = [i * 3.0 for i in range(int(last_renewal / 3.0) + 1)]
    observer = LeaseObserver(TIMES)
    now = 0.0
    for pause, there, back, lost in reads:
        sent = now + pause
        looked = sent + there
        now = looked + back
        count = sum(moment <= looked for moment in [*older, visible_at])
        record = dataclasses.replace(HELD, counter=count)
        if not lost:
            observer.saw(record, Instant(sent * drift), Instant(now * drift))
        if observer.judge().state == "expired":
            # The take's own compare settles renewals that landed since; so judge by the last
            # renewal that this observer could know of.
            began = last_renewal if count > len(older) else older[count - 1]
            assert now > began + TIMES.fence_after_seconds


class TestEdges:
    """The figures themselves, each at its edge."""

    def test_the_times_of_the_timeline(self) -> None:
        """As the module's docstring and ARCHITECTURE.md tell them."""
        assert LeaseTimes(3.0, 15.0, 4.0, 1.0, 4.0) == TIMES
        assert GUARD_POLL_SECONDS == 0.25

    def test_the_fence_margin_is_two_looks_of_the_guard_at_least(self) -> None:
        assert LeaseTimes(fence_margin_seconds=0.5).faults() == []
        [fault] = LeaseTimes(fence_margin_seconds=0.49).faults()
        assert "at least 0.5" in fault

    @pytest.mark.parametrize("margin_seconds", [0.0, -1.0])
    def test_the_fence_comes_before_the_expiry(self, margin_seconds: float) -> None:
        faults = LeaseTimes(fence_margin_seconds=margin_seconds).faults()
        assert any("must leave the fence before" in fault for fault in faults)

    @pytest.mark.parametrize(
        "changed",
        [
            {"renew_interval_seconds": 11.0 / 3.0, "renew_deadline_seconds": 1.0},
            {"renew_interval_seconds": 3.0, "renew_deadline_seconds": 8.0},
        ],
    )
    def test_times_that_just_meet_are_not_safe(self, changed: dict[str, float]) -> None:
        assert len(LeaseTimes(**changed).faults()) == 1

    def test_a_text_is_255_characters_long_at_most(self) -> None:
        longest = dataclasses.replace(HELD, host_name="n" * 255, note="x" * 255)
        assert decode(encode(longest)) == longest
        assert clean_note("x" * 256) == "x" * 255
        with pytest.raises(LeaseFormatError, match="host_name does not fit"):
            encode(dataclasses.replace(HELD, host_name="n" * 256))

    @pytest.mark.parametrize("name", ["host_id", "epoch", "counter"])
    def test_a_number_has_63_bits(self, name: str) -> None:
        largest, too_large = (
            LeaseRecord(**{**dataclasses.asdict(HELD), name: number})
            for number in (2**63 - 1, 2**63)
        )
        assert decode(encode(largest)) == largest
        with pytest.raises(LeaseFormatError, match=f"{name} out of range"):
            encode(too_large)

    @pytest.mark.parametrize(("name", "value"), [("epoch", "7"), ("counter", None), ("note", 7)])
    def test_a_value_of_another_type_is_named(self, name: str, value: object) -> None:
        values: dict[str, Any] = {**dataclasses.asdict(HELD), name: value}
        with pytest.raises(LeaseFormatError, match=name):
            encode(LeaseRecord(**values))

    def test_a_note_may_speak_of_crc32(self) -> None:
        record = dataclasses.replace(HELD, note="crc32: 00000000", host_name="crc32")
        assert decode(encode(record)) == record

    def test_zero_is_a_number_and_one_below_is_none(self) -> None:
        least = dataclasses.replace(HELD, state="free", host_id=0, epoch=0, counter=0)
        assert decode(encode(least)) == least
        with pytest.raises(LeaseFormatError, match="epoch out of range"):
            encode(dataclasses.replace(HELD, epoch=-1))

    @pytest.mark.parametrize(
        ("line", "named"),
        [
            (b"ha-agent-lease 1 2", "not a lease record"),
            (b"ha-agent-lease", "not a lease record"),
            (b"ha-agent-leash 1", "not a lease record"),
            (b"ha-agent-lease 11", "version b'11'"),
        ],
    )
    def test_the_first_line_is_that_line_and_no_other(self, line: bytes, named: str) -> None:
        block = with_crc(GOOD.replace(b"ha-agent-lease 1", line))
        with pytest.raises(LeaseFormatError, match=named):
            decode(block)

    @pytest.mark.parametrize("digits", ["\u0663", "\u00b2", "9" * 20, "", "1.0"])
    def test_a_number_is_up_to_nineteen_ascii_digits(self, digits: str) -> None:
        block = with_crc(GOOD.replace(b"epoch: 7", f"epoch: {digits}".encode()))
        with pytest.raises(LeaseFormatError, match="epoch is not a number"):
            decode(block)

    def test_where_text_is_not_utf_8_is_told(self) -> None:
        with pytest.raises(LeaseFormatError, match="not UTF-8") as caught:
            decode(with_crc(GOOD.replace(b"alpha", b"\xff\xfe")))
        assert caught.value.offset == GOOD.index(b"alpha")

    @pytest.mark.parametrize(("instance", "host_id"), [("", 2), ("inst-2", 0)])
    def test_held_by_half_a_somebody_is_held_by_nobody(self, instance: str, host_id: int) -> None:
        with pytest.raises(LeaseFormatError, match="held, but by nobody"):
            encode(dataclasses.replace(HELD, instance=instance, host_id=host_id))

    def test_what_each_write_makes_of_the_record(self) -> None:
        other = LeaseIdentity(3, "beta", "inst-3", "vm-2")
        taken = LeaseRecord("held", 3, "beta", "inst-3", "vm-2", 8, 101, "expired")
        assert HELD.taken(other, after_epoch=5, note="expired") == taken
        assert HELD.renewed() == dataclasses.replace(HELD, counter=101)
        assert HELD.released("moved") == dataclasses.replace(
            HELD, state="free", counter=101, note="moved"
        )
        assert initial_record() == LeaseRecord("free", 0, "", "", "", 0, 0, "initialised")

    def test_only_our_own_record_of_our_own_vm_is_adopted(self) -> None:
        assert HELD.adoptable_by(IDENTITY, given_up_epoch=6)
        assert not HELD.adoptable_by(IDENTITY, given_up_epoch=7)
        other_vm = dataclasses.replace(IDENTITY, vm_uuid="vm-2")
        assert not HELD.adoptable_by(other_vm, given_up_epoch=6)
        other_boot = dataclasses.replace(IDENTITY, instance="inst-3")
        assert not HELD.adoptable_by(other_boot, given_up_epoch=6)
        assert not HELD.released("moved").adoptable_by(IDENTITY, given_up_epoch=6)


class TestDistrust:
    """What the observer remembers of records that went back."""

    OLDER = dataclasses.replace(HELD, epoch=6, counter=50)
    FREE = HELD.released("moved")

    @staticmethod
    def distrusted(observer: LeaseObserver) -> bool:
        judged = observer.judge()
        return judged.state == "held" and "backwards" in judged.reason

    def test_it_is_the_newest_of_all_that_counts(self) -> None:
        observer = watching()
        observer.saw(HELD.renewed(), at(3.0), at(3.1))
        assert not self.distrusted(observer)
        observer.saw(HELD, at(4.0), at(4.1))
        assert self.distrusted(observer)

    def test_the_newest_coming_back_does_not_end_it(self) -> None:
        observer = watching(self.FREE)
        observer.saw(self.OLDER, at(1.0), at(1.1))
        observer.saw(self.FREE, at(2.0), at(2.1))
        assert self.distrusted(observer)

    def test_after_the_whole_wait_the_older_record_is_the_one_that_counts(self) -> None:
        observer = watching()
        observer.saw(self.OLDER, at(1.0), at(1.1))
        observer.saw(self.OLDER, at(16.1), at(16.2))
        assert observer.judge().state == "expired"
        observer.saw(self.OLDER.renewed(), at(17.0), at(17.1))
        assert not self.distrusted(observer)

    def test_the_same_record_after_garbage_is_no_step_back(self) -> None:
        observer = watching(self.FREE)
        observer.saw_unreadable("crc32 does not match")
        observer.saw(self.FREE, at(2.0), at(2.1))
        assert observer.judge().state == "free"

    def test_nothing_was_seen_yet(self) -> None:
        assert LeaseObserver(TIMES).highest_epoch == 0

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.vdsm.stomp import (
    COMMANDS,
    HEART_BEAT,
    Frame,
    StompDecoder,
    StompError,
    encode,
    negotiate,
    parse_heart_beat,
)

# As a real VDSM sent them (facts 1.2).
CONNECTED_BYTES = b"CONNECTED\nversion:1.2\nheart-beat:24000,0\n\n\0"
REPLY_BYTES = (
    b"MESSAGE\ndestination:r1\ncontent-type:application/json\nsubscription:s1\n"
    b'content-length:45\n\n{"jsonrpc": "2.0", "id": "1", "result": true}\0'
)

header_texts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20
)
frames = st.builds(
    Frame,
    st.sampled_from(sorted(COMMANDS)),
    st.dictionaries(
        header_texts.filter(lambda name: name not in ("", "content-length")),
        header_texts,
        max_size=5,
    ),
    st.binary(max_size=60),
)


def plain(frame: Frame) -> tuple[str, dict[str, str], bytes]:
    headers = {name: text for name, text in frame.headers.items() if name != "content-length"}
    return frame.command, headers, frame.body


def decode(data: bytes) -> list[Frame]:
    return StompDecoder().feed(data)


def refusal(data: bytes, **bounds: int) -> str:
    with pytest.raises(StompError) as caught:
        StompDecoder(where="peer", **bounds).feed(data)
    return str(caught.value)


def test_decodes_what_a_real_vdsm_sends() -> None:
    connected, reply = decode(CONNECTED_BYTES + HEART_BEAT + REPLY_BYTES)
    assert connected == Frame("CONNECTED", {"version": "1.2", "heart-beat": "24000,0"})
    assert reply.headers["subscription"] == "s1"
    assert reply.body == b'{"jsonrpc": "2.0", "id": "1", "result": true}'


def test_encodes_the_bytes_that_a_real_vdsm_takes() -> None:
    frame = Frame("SUBSCRIBE", {"destination": "a-b", "ack": "auto", "id": "1"})
    assert encode(frame) == b"SUBSCRIBE\ndestination:a-b\nack:auto\nid:1\n\n\0"
    frame = Frame("SEND", {"content-length": "999", "x": "1:2"}, b"{}")
    assert encode(frame) == b"SEND\nx:1\\c2\ncontent-length:2\n\n{}\0"


@settings(deadline=None)
@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_round_trip_through_any_cuts(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"\n\r\n".join(encode(frame) for frame in sent) + b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = StompDecoder()
    received: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        received += decoder.feed(stream[start:end])
    assert [plain(frame) for frame in received] == [plain(frame) for frame in sent]


def test_every_single_boundary() -> None:
    stream = CONNECTED_BYTES + b"\r\n" + REPLY_BYTES
    whole = decode(stream)
    for cut in range(len(stream) + 1):
        decoder = StompDecoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == whole, cut
    decoder = StompDecoder()
    assert [frame for byte in stream for frame in decoder.feed(bytes((byte,)))] == whole


def test_crlf_escapes_and_the_first_of_two_headers() -> None:
    (frame,) = decode(b"MESSAGE\r\na\\cb:1\\n\\r\\\\2\r\nx:first\r\nx:second\r\n\r\nbody\0")
    assert frame == Frame("MESSAGE", {"a:b": "1\n\r\\2", "x": "first"}, b"body")


def test_a_colon_in_a_value_is_taken() -> None:
    assert decode(b"ERROR\nmessage:a:b\n\n\0")[0].headers["message"] == "a:b"


def test_nul_in_a_body_needs_a_length() -> None:
    assert decode(b"MESSAGE\ncontent-length:3\n\na\0b\0")[0].body == b"a\0b"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\r\n", "unknown command"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "unknown command"),
        (b"message\n\n\0", "unknown command 'message'"),
        (b"BOGUS\n", "unknown command 'BOGUS'"),
        (b"MESSAGE\nno-colon\n\n\0", "header 1: 'no-colon' is not name:value"),
        (b"MESSAGE\n:v\n\n\0", "is not name:value"),
        (b"MESSAGE\na:\\t\n\n\0", "unknown escape '\\\\t'"),
        (b"MESSAGE\na:x\\\n\n\0", "unknown escape '\\\\'"),
        (b"MESSAGE\nok:1\na:\xff\n\n\0", "header 2: not UTF-8"),
        (b"MESSAGE\na:b\0c\n\n\0", "NUL in a header"),
        (b"MESSAGE\ncontent-length:-1\n\n", "is not a number of bytes"),
        (b"MESSAGE\ncontent-length:1e3\n\n", "is not a number of bytes"),
        (b"MESSAGE\ncontent-length:\xd9\xa3\n\n", "is not a number of bytes"),
        (b"MESSAGE\ncontent-length:2\n\nabc\0", "content-length 2 is wrong"),
        (b"MESSAGE\ncontent-length:100000000\n\n", "over the limit of 16777216 bytes"),
        (b"MESSAGE\ncontent-length:" + b"9" * 400 + b"\n\n", "is not a number of bytes"),
    ],
)
def test_bad_bytes_end_with_a_reason(data: bytes, what: str) -> None:
    message = refusal(data)
    assert message.startswith("peer: ")
    assert what in message


def test_bounds() -> None:
    head = b"MESSAGE\n" + b"".join(b"h%d:v\n" % n for n in range(5)) + b"\n\0"
    assert len(StompDecoder(max_headers=5).feed(head)) == 1
    assert "more than 4 headers" in refusal(head, max_headers=4)
    assert "headers longer than 20 bytes" in refusal(head, max_header_bytes=20)
    assert "headers longer than 20 bytes" in refusal(
        b"MESSAGE\na:" + b"x" * 20, max_header_bytes=20
    )
    assert len(StompDecoder(max_frame_bytes=4).feed(b"MESSAGE\n\n1234\0")) == 1
    assert "over the limit of 4 bytes" in refusal(b"MESSAGE\n\n12345", max_frame_bytes=4)
    assert "over the limit" in refusal(b"MESSAGE\n\n12345\0", max_frame_bytes=4)


def test_a_frame_without_end_is_not_buffered_beyond_the_bound() -> None:
    decoder = StompDecoder(max_frame_bytes=100_000)
    chunk = b"x" * 10_000
    decoder.feed(b"MESSAGE\n\n")
    tracemalloc.start()
    try:
        with pytest.raises(StompError):  # noqa: PT012
            for _ in range(10_000):
                decoder.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_decoder_that_failed_stays_failed() -> None:
    decoder = StompDecoder()
    with pytest.raises(StompError, match="unknown command"):
        decoder.feed(b"BOGUS\n\n\0")
    with pytest.raises(StompError, match="unknown command"):
        decoder.feed(CONNECTED_BYTES)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_gives_frames_or_a_stomp_error_whatever_the_cuts(data: bytes, step: int) -> None:
    def outcome(chunks: list[bytes]) -> list[Frame] | str:
        decoder = StompDecoder(max_frame_bytes=100, max_header_bytes=60)
        received: list[Frame] = []
        try:
            for chunk in chunks:
                received += decoder.feed(chunk)
        except StompError:
            return "refused"
        return received

    cut = [data[start : start + step] for start in range(0, len(data), step)]
    assert outcome(cut) == outcome([data])


@pytest.mark.parametrize(
    "frame",
    [Frame("BOGUS"), Frame("SEND", {"": "x"}), Frame("SEND", {"a": "\0"}), Frame("SE\nND")],
)
def test_what_can_not_be_sent(frame: Frame) -> None:
    with pytest.raises(StompError):
        encode(frame)


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        ((0, 24000), (24000, 0), (0, 24000)),  # vdsm.client with VDSM
        ((5000, 5000), (5000, 5000), (5000, 5000)),
        ((1000, 500), (2000, 3000), (3000, 2000)),
        ((0, 0), (1000, 1000), (0, 0)),
        ((1000, 1000), (0, 0), (0, 0)),
    ],
)
def test_heart_beats_are_negotiated(
    client: tuple[int, int], server: tuple[int, int], agreed: tuple[int, int]
) -> None:
    assert negotiate(client, server) == agreed
    assert negotiate(server, client) == agreed[::-1]


def test_heart_beat_header() -> None:
    assert parse_heart_beat("24000,0") == (24000, 0)
    for bad in ("", "1", "1,2,3", "a,b", "-1,0", "1,", "1.5,0"):
        with pytest.raises(StompError):
            parse_heart_beat(bad)

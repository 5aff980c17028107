from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.http.ws.client_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from zmartd.http.ws.frame_parser import (
    NO_STATUS,
    Close,
    Event,
    FrameError,
    FrameParser,
    Ping,
    Pong,
)
from zmartd.realtime.close_codes import CloseCode

wsproto = pytest.importorskip("wsproto.frame_protocol", reason="of the extra `test`")

MAX_BYTES = 4_096
MASK = b"\x12\x34\xfe\x7f"
MAX_HEAD_BYTES = 14
SNOWMAN = "☃".encode()


class Frames:
    """Counts frames, and refuses those after `limit`."""

    def __init__(self, limit: int = 10**9) -> None:
        self.kinds: list[bool] = []
        self._limit = limit

    def __call__(self, is_control: bool) -> None:
        if len(self.kinds) == self._limit:
            raise OverflowError
        self.kinds.append(is_control)


def parser(frames: Frames | None = None, *, deflates: bool = False) -> FrameParser:
    return FrameParser(frames or Frames(), MAX_BYTES, deflates=deflates)


def read(pieces: Iterable[bytes], *, deflates: bool = False) -> list[Event | int]:
    """What a client is understood to say, with the code of the error at which it ends."""
    one, events = parser(deflates=deflates), list[Event | int]()
    try:
        for piece in pieces:
            events += one.feed(piece)
    except FrameError as error:
        events.append(error.code)
    return events


def compressed(text: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


GOOD: list[tuple[bytes, list[Event]]] = [
    (frame(TEXT, b"hello", mask=MASK), ["hello"]),
    (frame(TEXT), [""]),
    (frame(BINARY, b"\xff\x00" * 80, mask=MASK), [b"\xff\x00" * 80]),
    (frame(PING, b"x" * 125, mask=MASK), [Ping(b"x" * 125)]),
    (frame(PONG, mask=MASK), [Pong(b"")]),
    (frame(TEXT, b"x" * MAX_BYTES, mask=MASK), ["x" * MAX_BYTES]),
    (
        frame(TEXT, b"a", final=False, mask=MASK)
        + frame(PING, b"between")
        + frame(CONTINUATION, final=False)
        + frame(CONTINUATION, b"b", mask=MASK),
        [Ping(b"between"), "ab"],
    ),
    (frame(TEXT, SNOWMAN[:1], final=False) + frame(CONTINUATION, SNOWMAN[1:], mask=MASK), ["☃"]),
    (frame(CLOSE), [Close(NO_STATUS, "")]),
    (frame(CLOSE, b"\x03\xe8" + SNOWMAN, mask=MASK), [Close(1000, "☃")]),
    (frame(CLOSE, (4999).to_bytes(2, "big")), [Close(4999, "")]),
]


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_read_alike_however_their_bytes_arrive(seed: int) -> None:
    rng = random.Random(seed)
    good = [one for one in GOOD if not isinstance(one[1][0], Close)]
    stream, expected = b"".join(sent for sent, _ in good), [event for _, events in good for event in events]
    assert read([stream]) == expected
    assert read(bytes([byte]) for byte in stream) == expected
    assert read(_cut(stream, rng)) == expected


@pytest.mark.parametrize(("sent", "expected"), GOOD)
def test_each_kind_of_frame_is_read(sent: bytes, expected: list[Event]) -> None:
    assert read([sent]) == expected


BAD: dict[str, tuple[bytes, int]] = {
    "unmasked": (frame(TEXT, b"{}", masked=False), CloseCode.PROTOCOL_ERROR),
    "a first reserved bit": (frame(TEXT, reserved=0x40), CloseCode.PROTOCOL_ERROR),
    "a second reserved bit": (frame(TEXT, reserved=0x20), CloseCode.PROTOCOL_ERROR),
    "a third reserved bit": (frame(TEXT, reserved=0x10), CloseCode.PROTOCOL_ERROR),
    "a reserved message": (frame(3), CloseCode.PROTOCOL_ERROR),
    "a reserved control frame": (frame(11), CloseCode.PROTOCOL_ERROR),
    "a ping in fragments": (frame(PING, final=False), CloseCode.PROTOCOL_ERROR),
    "a long ping": (frame(PING, b"x" * 126), CloseCode.PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION), CloseCode.PROTOCOL_ERROR),
    "a text within a text": (frame(TEXT, final=False) + frame(TEXT), CloseCode.PROTOCOL_ERROR),
    "a short length in two bytes": (frame(TEXT, b"x", length_bytes=2), CloseCode.PROTOCOL_ERROR),
    "a short length in eight bytes": (frame(TEXT, b"x" * 200, length_bytes=8), CloseCode.PROTOCOL_ERROR),
    "no UTF-8": (frame(TEXT, b"\xff"), CloseCode.INVALID_DATA),
    "half a character": (frame(TEXT, SNOWMAN[:2]), CloseCode.INVALID_DATA),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), CloseCode.INVALID_DATA),
    "half a close code": (frame(CLOSE, b"\x03"), CloseCode.PROTOCOL_ERROR),
    "a close code of none": (frame(CLOSE, NO_STATUS.to_bytes(2, "big")), CloseCode.PROTOCOL_ERROR),
    "a close code below all": (frame(CLOSE, (999).to_bytes(2, "big")), CloseCode.PROTOCOL_ERROR),
    "a close code above all": (frame(CLOSE, (5000).to_bytes(2, "big")), CloseCode.PROTOCOL_ERROR),
    "a reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), CloseCode.INVALID_DATA),
    "a message that is too large": (frame(TEXT, b"x" * (MAX_BYTES + 1)), CloseCode.MESSAGE_TOO_BIG),
    "fragments that are too large": (
        frame(TEXT, b"x" * MAX_BYTES, final=False) + frame(CONTINUATION, b"x"),
        CloseCode.MESSAGE_TOO_BIG,
    ),
    "eighteen exabytes": (b"\x81\xff" + b"\xff" * 8, CloseCode.MESSAGE_TOO_BIG),
}


@pytest.mark.parametrize(("sent", "code"), BAD.values(), ids=BAD)
def test_what_breaks_the_protocol_is_refused_with_its_code(sent: bytes, code: int) -> None:
    assert read([frame(TEXT, b"before"), sent]) == ["before", code]
    assert read(bytes([byte]) for byte in frame(TEXT, b"before") + sent) == ["before", code]


def test_a_giant_is_refused_by_its_head() -> None:
    assert read([frame(TEXT, b"x" * 70_000)[:14]]) == [CloseCode.MESSAGE_TOO_BIG]


def test_each_frame_counts_once_when_its_head_is_there() -> None:
    frames = Frames()
    one = parser(frames)
    whole = frame(TEXT, b"x" * 500)
    assert list(one.feed(whole[:7])) == []
    assert frames.kinds == []
    assert list(one.feed(whole[7:8])) == []
    assert frames.kinds == [False]
    assert len(list(one.feed(whole[8:] + frame(PING) + frame(TEXT, final=False)))) == 2
    assert frames.kinds == [False, True, False]


def test_nothing_is_parsed_after_the_last_allowed_frame() -> None:
    one, seen = parser(Frames(limit=5)), list[Event]()
    with pytest.raises(OverflowError):
        seen.extend(one.feed(frame(PING) * 100_000))
    assert seen == [Ping(b"")] * 5


def test_compressed_messages_are_inflated_where_that_was_agreed() -> None:
    text = b'{"action":"ping"}' * 10
    sent = frame(TEXT, compressed(text), reserved=0x40, mask=MASK)
    assert read([sent], deflates=True) == [text.decode()]
    assert read([sent]) == [CloseCode.PROTOCOL_ERROR]
    halves = frame(TEXT, compressed(text)[:5], reserved=0x40, final=False) + frame(
        CONTINUATION, compressed(text)[5:]
    )
    assert read([halves + frame(TEXT, b"plain")], deflates=True) == [text.decode(), "plain"]
    assert read([frame(PING, reserved=0x40)], deflates=True) == [CloseCode.PROTOCOL_ERROR]
    assert read([frame(TEXT, b"\xff\xff", reserved=0x40)], deflates=True) == [CloseCode.INVALID_DATA]


def test_a_compressed_bomb_is_refused() -> None:
    bomb = compressed(b"x" * 1_000_000)
    assert len(bomb) < MAX_BYTES
    assert read([frame(TEXT, bomb, reserved=0x40)], deflates=True) == [CloseCode.MESSAGE_TOO_BIG]


STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            frame,
            st.integers(0, 15),
            st.one_of(st.binary(max_size=130), st.text(max_size=40).map(str.encode)),
            final=st.booleans(),
            masked=st.sampled_from([True] * 9 + [False]),
            mask=st.binary(min_size=4, max_size=4),
            reserved=st.sampled_from([0] * 12 + [0x10, 0x20, 0x40]),
            length_bytes=st.sampled_from([None] * 6 + [2, 8]),
        ),
        st.builds(
            frame,
            st.sampled_from([TEXT, CONTINUATION, PING, BINARY]),
            st.text(max_size=20).map(str.encode),
            final=st.booleans(),
            mask=st.just(MASK),
        ),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(STREAMS, st.randoms(use_true_random=False))
@example(b"\0~", random.Random(1))
@example(frame(CLOSE) + b"\0\0", random.Random(1))
@example(frame(TEXT, SNOWMAN[:1], final=False) + frame(CONTINUATION, SNOWMAN[1:]), random.Random(1))
def test_any_bytes_cut_anywhere_are_read_as_wsproto_reads_them(stream: bytes, rng: random.Random) -> None:
    ours = read(_cut(stream, rng))
    assert ours == read([stream])
    theirs = _read_by_wsproto(stream)
    if theirs and theirs[-1] == CloseCode.INVALID_DATA:
        # It reads the characters of a text before the text is complete.
        assert ours[: len(theirs) - 1] == theirs[:-1]
    elif ours and ours[-1] == CloseCode.PROTOCOL_ERROR:
        # It does not look at a head before it is complete.
        assert ours == _read_by_wsproto(stream + bytes(MAX_HEAD_BYTES))
    else:
        assert ours == theirs


def test_what_follows_a_close_frame_means_nothing() -> None:
    sent = frame(CLOSE)
    assert read([sent + b"\0\0", b"more"]) == read([sent]) == [Close(NO_STATUS, "")]


def _cut(stream: bytes, rng: random.Random) -> list[bytes]:
    pieces, at = [], 0
    while at < len(stream):
        size = rng.choice([1, 1, 2, 3, 7, 100, 5_000])
        pieces.append(stream[at : at + size])
        at += size
    return pieces


def _read_by_wsproto(stream: bytes) -> list[Event | int]:
    """What wsproto reads, messages whole, up to the first error."""
    protocol = wsproto.FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(stream)
    kinds = wsproto.Opcode
    events: list[Event | int] = []
    parts: list[Any] = []
    try:
        for one in protocol.received_frames():
            if one.opcode == kinds.PING:
                events.append(Ping(bytes(one.payload)))
            elif one.opcode == kinds.PONG:
                events.append(Pong(bytes(one.payload)))
            elif one.opcode == kinds.CLOSE:
                events.append(Close(int(one.payload[0]), one.payload[1] or ""))
            else:
                parts.append(one.payload if isinstance(one.payload, str) else bytes(one.payload))
                if one.message_finished:
                    events.append(type(parts[0])().join(parts))
                    parts = []
    except wsproto.ParseFailed as error:
        events.append(int(error.code))
    return events

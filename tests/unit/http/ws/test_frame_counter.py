from __future__ import annotations

import random

import pytest

from zmartd.http.ws.frame_limits import FrameCounter

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True) -> bytes:
    size, mask = len(payload), 0x80 if masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 65_536:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    mask_key = bytes(4) if masked else b""  # which changes nothing
    return bytes([(0x80 if final else 0) | opcode]) + length + mask_key + payload


FRAMES = [
    frame(TEXT, b"hello"),
    frame(PING),
    frame(PONG, b"x" * 125),
    frame(TEXT, b"begin", final=False),
    frame(CONTINUATION, final=False),
    frame(CONTINUATION, b"end"),
    frame(BINARY, b"y" * 126),
    frame(TEXT, b"z" * 70_000),
    frame(TEXT, b"unmasked", masked=False),
    frame(CLOSE, b"\x03\xe8"),
]


class Frames:
    def __init__(self, limit: int = 10**9) -> None:
        self.frames = 0
        self._limit = limit

    def __call__(self, _control: bool) -> None:
        if self.frames == self._limit:
            raise OverflowError
        self.frames += 1


@pytest.mark.parametrize("seed", range(40))
def test_every_frame_of_every_kind_is_counted_however_the_bytes_arrive(seed: int) -> None:
    rng = random.Random(seed)
    frames = Frames()
    counter = FrameCounter(frames)
    stream = b"".join(FRAMES) * 3
    at = 0
    while at < len(stream):
        size = rng.choice([1, 2, 3, 7, 100, 5_000])
        counter.feed(stream[at : at + size])
        at += size
    assert frames.frames == 3 * len(FRAMES)


def test_a_frame_counts_once_its_head_is_there_before_its_payload_is() -> None:
    frames = Frames()
    counter = FrameCounter(frames)
    whole = frame(TEXT, b"x" * 500)
    counter.feed(whole[:3])
    assert frames.frames == 0
    counter.feed(whole[3:4])
    assert frames.frames == 1
    counter.feed(whole[4:] + frame(PING))
    assert frames.frames == 2


def test_nothing_is_parsed_after_the_last_allowed_frame() -> None:
    counter = FrameCounter(Frames(limit=5))
    with pytest.raises(OverflowError):
        counter.feed(frame(PING) * 100_000)

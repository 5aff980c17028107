"""Frames that wait to be written, shared by all clients for whom the same frames wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct


class EncodedFrame(Struct, frozen=True, gc=False):
    """A frame as it goes over a connection."""

    data: bytes
    price_of: str | None = None
    """The market, as its clients name it, whose price it tells and nothing else."""
    seq: int = 0


class Batch:
    """The frames of `before`, then `frames`. Their bytes are joined once, however many clients get them."""

    __slots__ = ("_before", "_data", "_frames", "asked_bytes", "count", "size")

    def __init__(self, before: Batch | None, frames: Sequence[EncodedFrame], *, asked: bool = False) -> None:
        """`asked`: whether a client has asked for these frames."""
        self._before = before
        self._frames = frames
        self._data: bytes | None = None
        size = sum(len(frame.data) for frame in frames)
        self.size, self.count, self.asked_bytes = size, len(frames), size if asked else 0
        if before is not None:
            self.size += before.size
            self.count += before.count
            self.asked_bytes += before.asked_bytes

    def frames(self) -> list[EncodedFrame]:
        """All of them, in order."""
        parts: list[Sequence[EncodedFrame]] = []
        batch: Batch | None = self
        while batch is not None:
            parts.append(batch._frames)
            batch = batch._before
        return [frame for part in reversed(parts) for frame in part]

    def data(self) -> bytes:
        """Their bytes."""
        if self._data is None:
            found = self.frames()
            self._data = found[0].data if len(found) == 1 else b"".join([frame.data for frame in found])
        return self._data


SkippedFrame = Callable[[str, Sequence[int]], EncodedFrame]
"""Makes the frame that names the numbers of a market's messages that are left out."""


def conflated(batch: Batch, skipped: SkippedFrame) -> Batch:
    """The same frames without the prices that a later one in the batch replaces.

    Frames that name those left out come first: a client that counts the numbers of each market knows, when it
    comes to a gap, that nothing else is missing.
    """
    kept: list[EncodedFrame] = []
    left_out: dict[str, list[int]] = {}
    later = set[str]()
    for frame in reversed(batch.frames()):
        market = frame.price_of
        if market is not None and market in later:
            left_out.setdefault(market, []).append(frame.seq)
            continue
        if market is not None:
            later.add(market)
        kept.append(frame)
    if not left_out:
        return batch
    first = [skipped(market, seqs[::-1]) for market, seqs in left_out.items()]
    shorter = Batch(None, [*first, *reversed(kept)])
    shorter.asked_bytes = batch.asked_bytes
    return shorter

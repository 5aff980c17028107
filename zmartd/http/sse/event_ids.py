"""The ids of events: how far a client has come in each of its channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from zmartd.store.streams import StreamPosition

MAX_SEQ: Final = 2**53
_ID = re.compile(r"([0-9a-f]{16}):((?:-|[0-9]{1,16})(?:,(?:-|[0-9]{1,16}))*)")
_UNKNOWN = "-"


class _Place(Struct):
    """What a frame says of its place in a stream."""

    market_id: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Place)


class EventIds:
    """The ids of one client's events: `epoch:seq`, with one seq for each of its channels, in their order.

    A channel whose position is not known has `-`.
    """

    __slots__ = ("_epoch", "_seqs")

    def __init__(self, names: Sequence[str], since: Sequence[StreamPosition | None]) -> None:
        """`names`: what frames call the channels; `since`: where the client was in each."""
        known = [one for one in since if one is not None]
        self._epoch = known[0].epoch if known else ""
        self._seqs: dict[str, int | None] = {
            name: None if at is None else at.seq for name, at in zip(names, since, strict=True)
        }

    def after(self, frame: bytes) -> str | None:
        """The id of the event with this frame; None where it leaves the client where it was."""
        place = _decoder.decode(frame)
        name = place.market_id or place.channel
        if isinstance(place.seq, UnsetType) or isinstance(name, UnsetType) or name not in self._seqs:
            return None
        if isinstance(place.epoch, str) and place.epoch != self._epoch:
            self._epoch = place.epoch
            self._seqs = dict.fromkeys(self._seqs)
        self._seqs[name] = place.seq
        seqs = (_UNKNOWN if seq is None else str(seq) for seq in self._seqs.values())
        return f"{self._epoch}:{','.join(seqs)}"


def positions(event_id: str, channels: int) -> list[StreamPosition | None]:
    """Where a client was in each of so many channels. Raises ValueError for what is no id of theirs."""
    found = _ID.fullmatch(event_id)
    seqs = found[2].split(",") if found else []
    if found is None or len(seqs) != channels:
        raise ValueError("must be the id of an event of the same channels: an epoch, a colon and their seqs")
    known = [None if seq == _UNKNOWN else int(seq) for seq in seqs]
    if any(seq is not None and seq > MAX_SEQ for seq in known):
        raise ValueError(f"must not have a seq above {MAX_SEQ}")
    return [None if seq is None else StreamPosition(found[1], seq) for seq in known]

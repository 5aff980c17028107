from __future__ import annotations

from typing import Any

import msgspec
import pytest

from zmartd.http.sse.event_ids import EventIds, positions
from zmartd.store.streams import StreamPosition

EPOCH, OTHER_EPOCH = "0123456789abcdef", "f" * 16


def frame(**envelope: Any) -> bytes:
    return msgspec.json.encode({"type": "trade", **envelope, "data": {"seq": 99, "market_id": "b"}})


def test_an_id_is_the_position_in_the_one_channel() -> None:
    ids = EventIds(["a"], [None])
    assert ids.after(frame(market_id="a", epoch=EPOCH, seq=41)) == f"{EPOCH}:41"
    assert ids.after(frame(market_id="a", seq=42)) == f"{EPOCH}:42"
    assert positions(f"{EPOCH}:42", 1) == [StreamPosition(EPOCH, 42)]


def test_an_id_names_the_positions_in_all_channels_in_their_order() -> None:
    ids = EventIds(["a", "*", "user:w"], [StreamPosition(EPOCH, 3), None, None])
    assert ids.after(frame(channel="user:w", epoch=EPOCH, seq=7)) == f"{EPOCH}:3,-,7"
    assert ids.after(frame(market_id="a", seq=4)) == f"{EPOCH}:4,-,7"
    assert positions(f"{EPOCH}:4,-,7", 3) == [StreamPosition(EPOCH, 4), None, StreamPosition(EPOCH, 7)]


def test_in_another_epoch_no_other_position_means_anything() -> None:
    ids = EventIds(["a", "b"], [StreamPosition(EPOCH, 3), StreamPosition(EPOCH, 5)])
    assert ids.after(frame(market_id="b", epoch=OTHER_EPOCH, seq=1)) == f"{OTHER_EPOCH}:-,1"


@pytest.mark.parametrize("envelope", [{}, {"market_id": "a"}, {"market_id": "other", "seq": 5}])
def test_a_frame_without_a_place_in_a_channel_has_no_id(envelope: dict[str, Any]) -> None:
    assert EventIds(["a"], [None]).after(frame(**envelope)) is None


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "x",
        EPOCH,
        f"{EPOCH}:",
        f"{EPOCH}:1,",
        f"{EPOCH}:1",
        f"{EPOCH}:1,2,3",
        f"{EPOCH}:1,x",
        f"{EPOCH}:1,+2",
        f"{EPOCH}:1,٣",
        f"{EPOCH}:1,{2**53 + 1}",
        f"{EPOCH.upper()}:1,2",
        f"{EPOCH}:1,2\n",
    ],
)
def test_what_is_no_id_of_two_channels_is_refused(event_id: str) -> None:
    with pytest.raises(ValueError, match="must"):
        positions(event_id, 2)

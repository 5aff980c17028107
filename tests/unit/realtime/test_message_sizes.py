"""The largest messages fit in a stream, so that none of them makes the change fail that it tells of."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.realtime.market_messages import TRADER, market, message
from zmartd.indexer.effects.market_messages import MAX_PROMOTED
from zmartd.market.ids import trade_id
from zmartd.realtime.messages import Change, DiscussionChange, Promotion
from zmartd.store.streams import MAX_BODY_BYTES

COMMENT_LENGTH = 1_000
PARENT = "f" * 36
SIGNATURE, NEWEST = "z" * 88, 2**31 - 1


def comment(content: str) -> DiscussionChange:
    return DiscussionChange(
        action="updated", discussion_id=PARENT, user_wallet=TRADER, content=content, parent_id=PARENT
    )


@pytest.mark.parametrize(
    "change",
    [
        comment("\U0001f600" * COMMENT_LENGTH),
        comment('"' * COMMENT_LENGTH),
        Promotion(trades=(trade_id(SIGNATURE, NEWEST),) * MAX_PROMOTED),
        Promotion(votes=("f" * 64,) * MAX_PROMOTED),
        market(dispute_evidence_cid="Q" * 46),
    ],
)
def test_the_largest_messages_take_at_most_half_of_the_room(change: Change) -> None:
    assert len(msgspec.json.encode(message(change, seq=2**53))) <= MAX_BODY_BYTES // 2

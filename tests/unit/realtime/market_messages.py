"""Messages about one market, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from zmartd.chain.commitment import Commitment
from zmartd.market.fees import TradeFees
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.realtime.messages import (
    Change,
    DiscussionChange,
    MarketUpdate,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    Snapshot,
    TradeExecuted,
    VoteCast,
)
from zmartd.store.streams import StreamPosition

MARKET = "5a" * 32
EPOCH = "0123456789abcdef"
ADDRESS = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
TRADER = "FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX"
AT = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)

TRADE = TradeExecuted(
    trade_id="4tx:0",
    trade_type="buy",
    outcome=True,
    shares=2_000_000_000,
    cost_lamports=1_100_000_000,
    amount_lamports=1_000_000_000,
    fees=TradeFees(protocol=30_000_000, resolver=20_000_000, lp=50_000_000, total=100_000_000),
    price_yes_before=500_000_000,
    price_yes=512_500_000,
    user_wallet=TRADER,
    signature="4tx",
    slot=77,
)
PRICE = PriceUpdate(price_yes=512_500_000, shares_yes=2_100_000_000, shares_no=100_000_000)
VOTE = VoteCast(vote_type=VoteKind.PROPOSAL)
CHAIN_VOTE = VoteCast(vote_type=VoteKind.DISPUTE, vote_id="0f" * 32)
RETRACTION = Retraction(kind="trade", record_id="4tx:0", slot=77)
PROMOTION = Promotion(trades=("4tx:0",), votes=("0f" * 32,))
POST = DiscussionChange(action="created", discussion_id="d1", user_wallet=TRADER, content="Why <so> sure?")


def market(**changes: Any) -> MarketUpdate:
    usual = MarketUpdate(
        state=MarketState.ACTIVE,
        on_chain_address=ADDRESS,
        price_yes=512_500_000,
        shares_yes=2_100_000_000,
        shares_no=100_000_000,
        b_parameter=100_000_000_000,
        total_volume_lamports=1_100_000_000,
        current_liquidity_lamports=18_446_744_073_709_551_615,
        slot=77,
    )
    return replace(usual, **changes)


def message(
    data: Change, seq: int = 1, market_id: str = MARKET, commitment: Commitment | None = "confirmed"
) -> Message:
    of_the_chain = not isinstance(data, DiscussionChange)
    return Message(market_id, data, AT, commitment if of_the_chain else None, StreamPosition(EPOCH, seq))


def snapshot(seq: int, market_id: str = MARKET) -> Snapshot:
    return Snapshot(market_id, StreamPosition(EPOCH, seq), market(), AT, "confirmed")

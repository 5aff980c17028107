"""What the daemons tell each other when something happened to a market: one frozen struct per kind of change.

Amounts are integers as on the chain: lamports, shares with nine decimals, prices with 1_000_000_000 = 1.0.
Wallets are whole; `realtime.frames` decides who may see them so.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from zmartd.market.lifecycle import MarketState, VoteKind


class MarketUpdate(Struct, frozen=True, kw_only=True, tag="update"):
    """A market's row as it is now; also what a snapshot of a market consists of.

    `old_state` is the state before, where this change moved the market to another one.
    """

    action: Literal["created", "updated"] = "updated"
    old_state: MarketState | None = None
    state: MarketState
    on_chain_address: str
    price_yes: int
    shares_yes: int
    shares_no: int
    b_parameter: int
    total_volume_lamports: int
    current_liquidity_lamports: int
    proposed_outcome: bool | None = None
    final_outcome: bool | None = None
    awaiting_decision: bool = False
    settles_at: datetime | None = None
    slot: int | None = None


class PriceUpdate(Struct, frozen=True, kw_only=True, tag="price"):
    """What a trade made of a market's price, and the shares that stand behind it."""

    price_yes: int
    shares_yes: int
    shares_no: int


class TradeExecuted(Struct, frozen=True, kw_only=True, tag="trade"):
    """One trade on the chain. `cost_lamports` is what the wallet paid in all, or on a sale was paid."""

    trade_id: str
    trade_type: Literal["buy", "sell"]
    outcome: bool
    shares: int
    cost_lamports: int
    price_yes: int
    user_wallet: str
    signature: str
    slot: int


class VoteCast(Struct, frozen=True, kw_only=True, tag="vote"):
    """One vote, on the chain or through the API. Whose it was and what it says is nobody's business."""

    vote_type: VoteKind


class DiscussionChange(Struct, frozen=True, kw_only=True, tag="discussion"):
    """A post that was written, edited or (content None) deleted."""

    action: Literal["created", "updated", "deleted"]
    discussion_id: str
    user_wallet: str
    content: str | None = None
    parent_id: str | None = None


Change = MarketUpdate | PriceUpdate | TradeExecuted | VoteCast | DiscussionChange


class Channel(StrEnum):
    """Where a kind of change is published."""

    UPDATE = "update"
    PRICE = "price"
    TRADE = "trade"
    VOTE = "vote"
    DISCUSSION = "discussion"


_CHANNELS: dict[type[Change], Channel] = {
    MarketUpdate: Channel.UPDATE,
    PriceUpdate: Channel.PRICE,
    TradeExecuted: Channel.TRADE,
    VoteCast: Channel.VOTE,
    DiscussionChange: Channel.DISCUSSION,
}

_MOVES_MARKET = frozenset({Channel.UPDATE, Channel.PRICE, Channel.TRADE})


class Message(Struct, frozen=True):
    """Something that happened to the market `market_id` (64 hex digits) at `occurred_at`.

    `version` is the version of the market's row that contains the change; it only grows. Votes and
    discussions leave the row alone and carry the version they found.
    """

    market_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    version: Annotated[int, Meta(ge=0)]
    data: Change
    occurred_at: Annotated[datetime, Meta(tz=True)]

    @property
    def channel(self) -> Channel:
        return _CHANNELS[type(self.data)]

    @property
    def moves_market(self) -> bool:
        """Whether the market's row changed with it, so that a snapshot of `version` contains it."""
        return self.channel in _MOVES_MARKET


class Gap(Struct, frozen=True):
    """Messages before this point may have been missed: what was derived from them has to be read anew."""


class Snapshot(Struct, frozen=True):
    """A market's row as the database has it, at `version`."""

    market_id: str
    version: int
    data: MarketUpdate
    occurred_at: datetime

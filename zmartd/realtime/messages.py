"""The messages that daemons exchange about changes of a market, one struct per kind of change.

Amounts are integers as on the chain: lamports, shares with nine decimals, prices with 1_000_000_000 = 1.0.
Wallets are not shortened; `realtime.frames` shortens them for anonymous clients.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from zmartd.market.lifecycle import MarketState, VoteKind


class MarketUpdate(Struct, frozen=True, kw_only=True, tag="update"):
    """The present state of a market's row. Snapshots contain it as well.

    `old_state` is the state before, if this change moved the market to another one.
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
    """A market's price and shares after a trade."""

    price_yes: int
    shares_yes: int
    shares_no: int


class TradeExecuted(Struct, frozen=True, kw_only=True, tag="trade"):
    """One trade on the chain. `cost_lamports` is what the wallet paid with fees, or got after fees."""

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
    """One vote, on the chain or through the API. Wallet and choice are private, so they are left out."""

    vote_type: VoteKind


class DiscussionChange(Struct, frozen=True, kw_only=True, tag="discussion"):
    """A comment that was written, edited or deleted; then `content` is None."""

    action: Literal["created", "updated", "deleted"]
    discussion_id: str
    user_wallet: str
    content: str | None = None
    parent_id: str | None = None


Change = MarketUpdate | PriceUpdate | TradeExecuted | VoteCast | DiscussionChange


class Channel(StrEnum):
    """The channel for a kind of change."""

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

_CHANGES_ROW = frozenset({Channel.UPDATE, Channel.PRICE, Channel.TRADE})


class Message(Struct, frozen=True):
    """A change of the market `market_id` (64 hex digits) at `occurred_at`.

    `version` is the version of the market's row that contains the change; it only grows. Votes and
    discussions do not change the row, and have the version that they found.
    """

    market_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    version: Annotated[int, Meta(ge=0)]
    data: Change
    occurred_at: Annotated[datetime, Meta(tz=True)]

    @property
    def channel(self) -> Channel:
        return _CHANNELS[type(self.data)]

    @property
    def changes_row(self) -> bool:
        """Whether the market's row changed with it, so that a snapshot of `version` contains it."""
        return self.channel in _CHANGES_ROW


class Gap(Struct, frozen=True):
    """Messages before this point may have been lost: whatever depends on them must be read again."""


class Snapshot(Struct, frozen=True):
    """A market's row in the database, at `version`."""

    market_id: str
    version: int
    data: MarketUpdate
    occurred_at: datetime

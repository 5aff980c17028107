"""Which messages of its streams a client wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from zmartd.realtime.messages import (
    AnyMessage,
    DiscussionChange,
    MarketUpdate,
    Message,
    OwnClaim,
    OwnFill,
    OwnPosition,
    OwnPromotion,
    OwnRetraction,
    OwnTransaction,
    PriceUpdate,
    Promotion,
    Retraction,
    TradeExecuted,
    VoteCast,
)

KINDS: Final[Mapping[type[Struct], str]] = {
    MarketUpdate: "market_state",
    PriceUpdate: "price_update",
    TradeExecuted: "trade",
    VoteCast: "vote",
    DiscussionChange: "discussion",
    Retraction: "retracted",
    Promotion: "commitment",
    OwnFill: "fill",
    OwnClaim: "claim",
    OwnPosition: "position",
    OwnRetraction: "retracted",
    OwnPromotion: "commitment",
    OwnTransaction: "transaction",
}
"""The type of the frame of each kind of change."""


class Filter(Struct, frozen=True, kw_only=True):
    """What of its streams a subscription gets. A part that is None lets everything pass.

    `kinds` chooses among all messages, `category` among those about markets, `min_cost_lamports` among
    trades, and `wallet` among trades and comments; the other messages pass.
    """

    kinds: frozenset[str] | None = None
    category: str | None = None
    min_cost_lamports: int | None = None
    wallet: str | None = None

    def passes(self, message: AnyMessage) -> bool:
        """Whether the subscription gets this message."""
        data = message.data
        if self.kinds is not None and KINDS[type(data)] not in self.kinds:
            return False
        if self.category is not None and isinstance(message, Message) and message.category != self.category:
            return False
        trade = data.trade if isinstance(data, OwnFill) else data
        if isinstance(trade, TradeExecuted) and trade.cost_lamports < (self.min_cost_lamports or 0):
            return False
        if self.wallet is not None and isinstance(data, TradeExecuted | DiscussionChange):
            return data.user_wallet == self.wallet
        return True

"""A trade as the API shows it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from zmartd.http.fields import Amount, Commitment, Price, Time, amount, price, time_text
from zmartd.http.market_body import OutcomeLabel, outcome_label
from zmartd.market.lmsr import SCALE
from zmartd.store.trades import Trade


class FeesBody(Struct, frozen=True):
    """Who gets which part of a trade's fees, in lamports."""

    protocol: Amount
    resolver: Amount
    lp: Amount
    total: Amount


class TradeBody(Struct, frozen=True, kw_only=True):
    """One buy or sell. `user_wallet` is shortened for callers who have not signed in.

    `cost` is what the buyer paid with fees, or what the seller received after fees; `amount` is before fees.
    """

    id: str
    market_id: str
    user_wallet: str
    trade_type: Literal["buy", "sell"]
    outcome: bool
    outcome_label: OutcomeLabel
    shares: Amount
    cost: Amount
    amount: Amount
    fees: FeesBody
    price_yes: Price
    price_no: Price
    tx_signature: str
    event_index: int
    slot: int
    commitment: Commitment
    created_at: Time


def fees_body(protocol: int, resolver: int, lp: int) -> FeesBody:
    """Fees from their parts in lamports."""
    return FeesBody(amount(protocol), amount(resolver), amount(lp), amount(protocol + resolver + lp))


def trade_body(trade: Trade) -> TradeBody:
    """A trade of the index. It has no id but its place on the chain, which is the same in every daemon."""
    return TradeBody(
        id=f"{trade.tx_signature}:{trade.event_index}",
        market_id=trade.market_id,
        user_wallet=trade.trader,
        trade_type=trade.trade_type,
        outcome=trade.outcome,
        outcome_label=outcome_label(trade.outcome),
        shares=amount(trade.shares),
        cost=amount(trade.cost),
        amount=amount(trade.amount),
        fees=fees_body(trade.protocol_fee, trade.resolver_fee, trade.lp_fee),
        price_yes=price(trade.price_yes_after),
        price_no=price(SCALE - trade.price_yes_after),
        tx_signature=trade.tx_signature,
        event_index=trade.event_index,
        slot=trade.slot,
        commitment=trade.commitment,
        created_at=time_text(trade.block_time),
    )

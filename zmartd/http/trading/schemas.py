"""A trade as the API shows it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from zmartd.http.kit.fields import Amount, Commitment, MarketKey, Price, Time, amount, price
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.market.ids import trade_id
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE
from zmartd.store.trades import TradeRow


class FeesBody(Struct, frozen=True):
    """Who gets which part of a trade's fees, in lamports."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for who proposes the market's outcome."""
    lp: Amount
    """Lamports for the market's creator, for the liquidity."""
    total: Amount
    """Lamports: all parts together."""


class TradeBody(Struct, frozen=True, kw_only=True):
    """One buy or sell. `user_wallet` is shortened for callers who have not signed in.

    `cost` is what the buyer paid with fees, or what the seller received after fees; `amount` is before fees.
    """

    id: str
    """The same in every daemon: tx_signature and event_index with a colon between them."""
    market_id: MarketKey
    user_wallet: str
    """The trader's address, shortened for callers who have not signed in."""
    trade_type: Literal["buy", "sell"]
    """Whether the trader bought or sold."""
    outcome: bool
    """True for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The outcome in words."""
    shares: Amount
    """Shares traded, with nine decimals."""
    cost: Amount
    """Lamports that the buyer paid with fees, or that the seller received after fees."""
    amount: Amount
    """Lamports before fees; an estimate while an earlier trade of the market is not indexed."""
    fees: FeesBody
    """What the trade was charged; as exact as amount."""
    price_yes: Price
    """SOL a share of YES after this trade, from 0 to 1."""
    price_no: Price
    """SOL a share of NO after this trade, from 0 to 1."""
    tx_signature: str
    """The signature of the trade's transaction, base58."""
    event_index: int
    """Where among the program's events in the transaction the trade stands, from 0."""
    slot: int
    """The slot of the trade's transaction."""
    commitment: Commitment
    """How far the chain has settled on the trade."""
    created_at: Time
    """When the trade was made, by the chain's clock."""


def fees_body(protocol: int, resolver: int, lp: int) -> FeesBody:
    """Fees from their parts in lamports."""
    return FeesBody(amount(protocol), amount(resolver), amount(lp), amount(protocol + resolver + lp))


def trade_body(trade: TradeRow) -> TradeBody:
    """A trade of the index. It has no id but its place on the chain, which is the same in every daemon."""
    return TradeBody(
        id=trade_id(trade.tx_signature, trade.event_index),
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
        created_at=iso_time(trade.block_time),
    )

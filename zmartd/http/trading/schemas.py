"""Trades and quotes in the JSON of the API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from zmartd.http.kit.fields import (
    U64,
    Amount,
    Commitment,
    MarketKey,
    MarketRef,
    Price,
    Time,
    amount,
    price,
)
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.market.ids import trade_id
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE
from zmartd.market.orders import DEFAULT_SLIPPAGE_BPS, MAX_SLIPPAGE_BPS
from zmartd.market.quotes import Quote
from zmartd.store.trades import TradeRow

MarketParameter = Annotated[MarketRef, Meta(description="a market's id or address")]
OutcomeParameter = Annotated[bool, Meta(description="true for YES or false for NO")]


class ShareUnits(U64):
    """A number of share units to trade: 1 or more."""

    minimum: ClassVar[int] = 1


SlippageParameter = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_SLIPPAGE_BPS,
        description=f"a whole number of basis points from 0 to {MAX_SLIPPAGE_BPS}: how much worse than its "
        f"quote the trade may become, {DEFAULT_SLIPPAGE_BPS} (1 %) unless it is given",
    ),
]


class FeesBody(Struct, frozen=True):
    """The fees of a trade by whom they go to, in lamports."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for the wallet that proposes the market's outcome."""
    lp: Amount
    """Lamports for the market's creator, as liquidity provider."""
    total: Amount
    """The sum of the above, in lamports."""


class TradeBody(Struct, frozen=True, kw_only=True):
    """One buy or sell."""

    id: str
    """tx_signature and event_index, separated by a colon. The id is the same in every daemon."""
    market_id: MarketKey
    user_wallet: str
    """The trader's address; shortened for anonymous callers."""
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`."""
    outcome: bool
    """The traded outcome: true for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The name of the outcome."""
    shares: Amount
    """Shares traded, with nine decimals."""
    cost: Amount
    """Lamports that the buyer paid with fees, or that the seller received after fees."""
    amount: Amount
    """Lamports before fees. It is an estimate while an earlier trade of the market is not indexed."""
    fees: FeesBody
    """The fees on the trade, as exact as amount."""
    price_yes: Price
    """The price of a YES share in SOL after this trade, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL after this trade, from 0 to 1."""
    tx_signature: str
    """The signature of the trade's transaction, base58."""
    event_index: int
    """The position of the trade among the program's events in the transaction, from 0."""
    slot: int
    """The slot of the trade's transaction."""
    commitment: Commitment
    """The commitment of the trade."""
    created_at: Time
    """The time of the trade's block, by the chain's clock."""


class QuoteBody(Struct, frozen=True, kw_only=True):
    """A trade as the program would execute it as of `slot`. Prices are those of the traded outcome."""

    outcome: bool
    """The traded outcome: true for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The name of the outcome."""
    shares: Amount
    """Shares bought or sold, with nine decimals."""
    cost: Amount
    """Lamports before fees: the cost of the shares, or their proceeds."""
    fees: FeesBody
    """The fees, which are part of total."""
    total: Amount
    """Lamports that the buyer pays with fees, or that the seller receives after fees."""
    price_before: Price
    """The price of a share in SOL before the trade, from 0 to 1."""
    price_after: Price
    """The price of a share in SOL after the trade, from 0 to 1."""
    average_price: Annotated[float, Meta(description="total / shares, in SOL per share; 0 without shares")]
    slot: int
    """The slot as of which the market was read."""


def fees_body(protocol: int, resolver: int, lp: int) -> FeesBody:
    """The JSON of fees in lamports."""
    return FeesBody(amount(protocol), amount(resolver), amount(lp), amount(protocol + resolver + lp))


def trade_body(trade: TradeRow) -> TradeBody:
    """The JSON of an indexed trade. Its id is its position on the chain, the same in every daemon."""
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


def quote_body(quote: Quote, slot: int) -> QuoteBody:
    """The JSON of a quote for a market as of `slot`."""
    before, after = quote.price_yes_before, quote.price_yes_after
    if not quote.outcome:
        before, after = SCALE - before, SCALE - after
    return QuoteBody(
        outcome=quote.outcome,
        outcome_label=outcome_label(quote.outcome),
        shares=amount(quote.shares),
        cost=amount(quote.amount_lamports),
        fees=fees_body(quote.fees.protocol, quote.fees.resolver, quote.fees.lp),
        total=amount(quote.total_lamports),
        price_before=price(before),
        price_after=price(after),
        average_price=round(quote.total_lamports / quote.shares, 9) if quote.shares else 0.0,
        slot=slot,
    )

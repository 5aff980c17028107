"""Trades and quotes in the JSON of the API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from zmartd.http.kit.earlier_names import DEPRECATED
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
from zmartd.http.markets import earlier_answers
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.market.ids import trade_id
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE
from zmartd.market.orders import DEFAULT_SLIPPAGE_BPS, MAX_SLIPPAGE_BPS
from zmartd.market.quotes import Quote
from zmartd.store.trades import TradeRow

AveragePrice = Annotated[float, Meta(description="net / shares, in SOL per share; 0 without shares")]
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


class FeeBody(Struct, frozen=True):
    """The fee of a trade by whom its parts go to, in lamports."""

    protocol: Amount
    """Lamports for the protocol."""
    resolver: Amount
    """Lamports for the wallet that proposes the market's outcome."""
    lp: Amount
    """Lamports for the market's creator, as liquidity provider."""
    total: Amount
    """The sum of the above, in lamports."""


class TradedAmounts(Struct, frozen=True, kw_only=True):
    """What a trade comes to, in a quote and once it is made. Prices are those of the traded outcome."""

    outcome: bool
    """The traded outcome: true for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The name of the outcome."""
    shares: Amount
    """Shares bought or sold, with nine decimals."""
    gross: Amount
    """Lamports before fees: what the price curve asks for the shares, or pays for them."""
    fee: FeeBody
    """The fee and its parts."""
    net: Amount
    """Lamports that move: gross plus fee, paid by the buyer; or gross less fee, received by the seller."""
    average_price: AveragePrice
    price_before: Price
    """The price of a share in SOL before the trade, from 0 to 1."""
    price_after: Price
    """The price of a share in SOL after the trade, from 0 to 1."""


class TradeBody(TradedAmounts, frozen=True, kw_only=True):
    """One buy or sell.

    While an earlier trade of the market is not indexed, gross, fee and price_before are estimates.
    """

    id: str
    """tx_signature and event_index, separated by a colon. The id is the same in every daemon."""
    market_id: MarketKey
    user_wallet: str
    """The trader's address; shortened for anonymous callers."""
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`."""
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
    cost: Annotated[Amount, DEPRECATED]
    """The same as net."""


class QuoteBody(TradedAmounts, frozen=True, kw_only=True):
    """A trade as the program would execute it as of `slot`. Prices are those of the traded outcome."""

    slot: int
    """The slot as of which the market was read."""


def fee_body(protocol: int, resolver: int, lp: int) -> FeeBody:
    """The JSON of a fee in lamports."""
    return FeeBody(amount(protocol), amount(resolver), amount(lp), amount(protocol + resolver + lp))


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
        gross=amount(trade.amount),
        fee=fee_body(trade.protocol_fee, trade.resolver_fee, trade.lp_fee),
        net=amount(trade.cost),
        average_price=average_price(trade.cost, trade.shares),
        price_before=_outcome_price(trade.price_yes_before, trade.outcome),
        price_after=_outcome_price(trade.price_yes_after, trade.outcome),
        tx_signature=trade.tx_signature,
        event_index=trade.event_index,
        slot=trade.slot,
        commitment=trade.commitment,
        created_at=iso_time(trade.block_time),
        **earlier_answers.of_a_trade(amount(trade.cost)),
    )


def quote_body(quote: Quote, slot: int) -> QuoteBody:
    """The JSON of a quote for a market as of `slot`."""
    return QuoteBody(
        outcome=quote.outcome,
        outcome_label=outcome_label(quote.outcome),
        shares=amount(quote.shares),
        gross=amount(quote.amount_lamports),
        fee=fee_body(quote.fees.protocol, quote.fees.resolver, quote.fees.lp),
        net=amount(quote.total_lamports),
        average_price=average_price(quote.total_lamports, quote.shares),
        price_before=_outcome_price(quote.price_yes_before, quote.outcome),
        price_after=_outcome_price(quote.price_yes_after, quote.outcome),
        slot=slot,
    )


def average_price(net_lamports: int, shares: int) -> float:
    """What a share came to with fees, in SOL."""
    return round(net_lamports / shares, 9) if shares else 0.0


def _outcome_price(price_yes: int, outcome: bool) -> float:
    return price(price_yes if outcome else SCALE - price_yes)

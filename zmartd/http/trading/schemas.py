"""Trades and quotes in the JSON of the API."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import (
    MEANING,
    U64,
    Amount,
    Commitment,
    MarketKey,
    MarketRef,
    Price,
    Time,
)
from zmartd.http.markets.fees import FeeBody
from zmartd.http.markets.schemas import OutcomeLabel
from zmartd.market.fees import TradeFees
from zmartd.market.ids import trade_id
from zmartd.market.iso_time import iso_time
from zmartd.market.orders import DEFAULT_SLIPPAGE_BPS, MAX_SLIPPAGE_BPS
from zmartd.market.quotes import Quote
from zmartd.realtime.trade_summary import TradeSummary, trade_summary
from zmartd.store.trades import TradeRow

AveragePrice = Annotated[float, Meta(description="net / shares, in SOL per share; 0 without shares")]
OutcomeParameter = Annotated[
    bool,
    Meta(
        description="true for YES or false for NO",
        extra_json_schema={MEANING: "The outcome whose shares are traded."},
    ),
]
MarketParameter = Annotated[MarketRef, Meta(description="a market's id, 64 hexadecimal digits, or address")]


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
    """The time of the trade's block."""
    cost: Annotated[Amount, DEPRECATED]
    """The same as net."""


class QuoteBody(TradedAmounts, frozen=True, kw_only=True):
    """A trade as the program would execute it as of `slot`. Prices are those of the traded outcome."""

    slot: int
    """The slot as of which the market was read."""


def trade_body(trade: TradeRow) -> TradeBody:
    """The JSON of an indexed trade. Its id is its position on the chain, the same in every daemon."""
    parts = (trade.protocol_fee, trade.resolver_fee, trade.lp_fee)
    summary = trade_summary(
        outcome=trade.outcome,
        shares=trade.shares,
        gross_lamports=trade.amount,
        fees=TradeFees(*parts, sum(parts)),
        net_lamports=trade.cost,
        price_yes_before=trade.price_yes_before,
        price_yes_after=trade.price_yes_after,
    )
    return TradeBody(
        **_amounts(summary),
        id=trade_id(trade.tx_signature, trade.event_index),
        market_id=trade.market_id,
        user_wallet=trade.trader,
        trade_type=trade.trade_type,
        tx_signature=trade.tx_signature,
        event_index=trade.event_index,
        slot=trade.slot,
        commitment=trade.commitment,
        created_at=iso_time(trade.block_time),
        **earlier_answers.of_a_trade(summary.net),
    )


def quote_body(quote: Quote, slot: int) -> QuoteBody:
    """The JSON of a quote for a market as of `slot`."""
    summary = trade_summary(
        outcome=quote.outcome,
        shares=quote.shares,
        gross_lamports=quote.amount_lamports,
        fees=quote.fees,
        net_lamports=quote.total_lamports,
        price_yes_before=quote.price_yes_before,
        price_yes_after=quote.price_yes_after,
    )
    return QuoteBody(**_amounts(summary), slot=slot)


def _amounts(summary: TradeSummary) -> dict[str, Any]:
    """The fields of TradedAmounts."""
    return {**asdict(summary), "fee": FeeBody(**asdict(summary.fee))}

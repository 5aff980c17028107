"""Estimates of trades for anybody, from the index instead of the chain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.chain.failures import ProgramRefused
from zmartd.http.errors.requests import InvalidRequest, MarketPending, PendingDetails, Problem, WrongState
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, Commitment, MarketKey, amount
from zmartd.http.kit.operation import Access, AtPosition, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.schemas import OutcomeFilter
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.http.trading.quoting import refusing_as_the_program, require_consistent
from zmartd.http.trading.schemas import (
    MarketParameter,
    QuoteBody,
    ShareUnits,
    SlippageParameter,
    quote_body,
)
from zmartd.market import orders, quotes
from zmartd.market.iso_time import has_come
from zmartd.market.next_steps import Action
from zmartd.market.orders import DEFAULT_SLIPPAGE_BPS, Order, ProtectedPurchase, Purchase, Sale
from zmartd.market.quotes import Pool, SellQuote
from zmartd.store import markets
from zmartd.store.markets import MarketNotFound, MarketPricing, MarketReference


class EstimateQuery(Struct, frozen=True, kw_only=True):
    """A purchase needs either `target_cost`, the most to pay with fees, or `shares`, the least to get; a sale
    needs `shares`.
    """

    market_id: MarketParameter
    trade_type: Annotated[Literal["buy", "sell"], Meta(description="buy or sell")] = "buy"
    """Whether shares are bought or sold."""
    outcome: Annotated[OutcomeFilter, Meta(description="true for YES or false for NO")]
    """The outcome whose shares are traded."""
    target_cost: Annotated[
        U64 | None, Meta(description="a whole number of lamports, 0 to 18446744073709551615")
    ] = None
    """The most to pay, with fees."""
    shares: Annotated[
        ShareUnits | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 to 18446744073709551615"),
    ] = None
    """How many to sell, or the least to get."""
    slippage_bps: SlippageParameter = DEFAULT_SLIPPAGE_BPS


class Estimate(QuoteBody, frozen=True, kw_only=True):
    """What the program would do, to the lamport, if nobody has traded in the market since `slot`."""

    market_id: MarketKey
    market_ended: bool
    """Whether the market's expected end has come: its outcome may be known already, and proposed soon."""
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`, as requested."""
    target_cost: Amount | None
    """Lamports, the argument of buy_shares: as requested, or what `shares` cost and the slippage, as room for
    a price that rises; null for a sale."""
    slippage_bps: int
    """The slippage from which the limits follow, in basis points."""
    min_shares: Amount | None
    """The least share units that a quote made now would promise; null for a sale."""
    max_cost: Amount | None
    """The most lamports, fees included, that a quote made now would promise; null for a sale."""
    min_proceeds: Amount | None
    """The least lamports after fees that a quote made now would promise; null for a purchase."""
    price_impact: Annotated[
        float,
        Meta(description="relative change of the price of the traded outcome: 0.05 is an increase by 5 %"),
    ]
    commitment: Commitment
    """The commitment of the market's data that the estimate uses."""


async def get_estimate(call: Call[EstimateQuery]) -> AtPosition:
    """The cost of a purchase or the proceeds of a sale, from the market as it is indexed."""
    query = call.input
    order = _order(query)
    found = await _find_curve(call, query.market_id)
    async with explaining_state(call, found.market_id, Action.TRADE):
        with refusing_as_the_program(call.app[keys.IDL]):
            protected = _protect(found, order)
    estimate = _estimate(found, query, protected, await call.app[keys.CHAIN_TIME]())
    return AtPosition(estimate, found.stream_position)


def _order(query: EstimateQuery) -> Order:
    """Raises InvalidRequest."""
    purchase = Purchase(
        outcome=bool(query.outcome),
        target_cost=query.target_cost,
        shares=query.shares,
        slippage_bps=query.slippage_bps,
    )
    require_consistent(purchase)
    if query.trade_type == "buy":
        return purchase
    if query.shares is None:
        raise InvalidRequest(Problem("shares", "is required for a sale"))
    return Sale(outcome=bool(query.outcome), shares=query.shares, slippage_bps=query.slippage_bps)


async def _find_curve(call: Call[Any], reference: str) -> MarketPricing:
    """Raises MarketNotFound, or MarketPending."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await markets.find_pricing(connection, reference)
        if found is not None:
            return found
        await chain_market(connection, reference)
    raise MarketNotFound(MarketReference(given=reference))


def _protect(found: MarketPricing, order: Order) -> ProtectedPurchase | SellQuote:
    """Raises MarketMathError for the first check of the program that fails, in the program's order."""
    if found.curve is None:
        raise MarketPending(PendingDetails(found.market_id))
    quotes.require_trading(found.state, is_paused=found.is_paused)
    pool = Pool(found.curve, found.rates)
    if isinstance(order, Purchase):
        return orders.protect_purchase(pool, order)
    return orders.protect_sale(pool, order)


def _estimate(
    found: MarketPricing, query: EstimateQuery, protected: ProtectedPurchase | SellQuote, now: int
) -> Estimate:
    bought = protected if isinstance(protected, ProtectedPurchase) else None
    quote = protected.quote if isinstance(protected, ProtectedPurchase) else protected
    body = quote_body(quote, found.slot)
    return Estimate(
        **msgspec.structs.asdict(body),
        market_id=found.market_id,
        market_ended=has_come(found.end_date, now),
        trade_type=query.trade_type,
        target_cost=None if bought is None else amount(bought.quote.target_cost_lamports),
        slippage_bps=query.slippage_bps,
        min_shares=None if bought is None else amount(bought.min_shares),
        max_cost=None if bought is None else amount(bought.max_cost),
        min_proceeds=amount(quote.min_proceeds_lamports) if isinstance(quote, SellQuote) else None,
        price_impact=round(body.price_after / body.price_before - 1, 9) if body.price_before else 0.0,
        commitment=found.commitment,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/trades/estimate",
        handler=get_estimate,
        shows_market=True,
        reads_once=True,
        name="estimate_trade",
        summary="Estimate a trade",
        tag="trades",
        access=Access.PUBLIC,
        query=EstimateQuery,
        responses={200: Estimate},
        errors=(MarketNotFound, MarketPending, WrongState, ProgramRefused),
    ),
)

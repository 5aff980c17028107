"""Estimates of trades for anybody, from the index instead of the chain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.chain.failures import ProgramRefused
from zmartd.http.errors.requests import InvalidRequest, MarketPending, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, Commitment, MarketKey, Price, amount, price
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.markets.wrong_state import explaining_state
from zmartd.http.trading.quoting import quote_purchase, refusing_as_the_program, require_one_amount
from zmartd.http.trading.schemas import MarketParameter, OutcomeParameter, QuoteBody, ShareUnits, quote_body
from zmartd.market import quotes
from zmartd.market.lmsr import SCALE
from zmartd.market.next_steps import Action
from zmartd.market.quotes import BuyQuote, Pool, Quote
from zmartd.store import markets
from zmartd.store.markets import MarketNotFound, MarketPricing


class EstimateQuery(Struct, frozen=True, kw_only=True):
    """A purchase needs either `target_cost`, the most to pay with fees, or `shares`, the least to get; a sale
    needs `shares`.
    """

    market_id: MarketParameter
    trade_type: Annotated[Literal["buy", "sell"], Meta(description="buy or sell")] = "buy"
    outcome: OutcomeParameter
    target_cost: Annotated[U64 | None, Meta(description="a whole number of lamports")] = None
    shares: Annotated[
        ShareUnits | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 or more"),
    ] = None


class Estimate(QuoteBody, frozen=True, kw_only=True):
    """What the program would do, to the lamport, if nobody has traded in the market since `slot`."""

    market_id: MarketKey
    trade_type: Literal["buy", "sell"]
    """`buy` or `sell`, as requested."""
    target_cost: Amount | None
    """Lamports, the argument of buy_shares: as requested, or the smallest that gives `shares`; null for a
    sale."""
    price_yes_after: Price
    """The price of a YES share in SOL after the trade, from 0 to 1."""
    price_no_after: Price
    """The price of a NO share in SOL after the trade, from 0 to 1."""
    price_impact: Annotated[
        float,
        Meta(description="relative change of the price of the traded outcome: 0.05 is an increase by 5 %"),
    ]
    commitment: Commitment
    """The commitment of the market's data that the estimate uses."""


async def get_estimate(call: Call[EstimateQuery]) -> Estimate:
    """The cost of a purchase or the proceeds of a sale, from the market as it is indexed."""
    query = call.input
    _check_amounts(query)
    found = await _find_curve(call, query.market_id)
    async with explaining_state(call, found.market_id, Action.TRADE):
        with refusing_as_the_program(call.app[keys.IDL]):
            quote = _quote(found, query)
    return _estimate(found, query, quote)


def _check_amounts(query: EstimateQuery) -> None:
    require_one_amount(query.target_cost, query.shares)
    if query.trade_type == "sell" and query.shares is None:
        raise InvalidRequest(Problem("shares", "is required for a sale"))


async def _find_curve(call: Call[Any], reference: str) -> MarketPricing:
    """Raises MarketNotFound, or MarketPending."""
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await markets.find_pricing(connection, reference)
        if found is not None:
            return found
        await chain_market(connection, reference)
    raise MarketNotFound(market=reference)


def _quote(found: MarketPricing, query: EstimateQuery) -> Quote:
    """Raises MarketMathError for the first check of the program that fails, in the program's order."""
    if found.curve is None:
        raise MarketPending(market=found.market_id)
    quotes.require_trading(found.state, is_paused=found.is_paused)
    pool = Pool(found.curve, found.rates)
    if query.trade_type == "buy":
        return quote_purchase(pool, query.outcome, query.target_cost, query.shares)
    assert query.shares is not None, "checked by _check_amounts"
    return quotes.sell(pool, query.outcome, query.shares)


def _estimate(found: MarketPricing, query: EstimateQuery, quote: Quote) -> Estimate:
    body = quote_body(quote, found.slot)
    return Estimate(
        **msgspec.structs.asdict(body),
        market_id=found.market_id,
        trade_type=query.trade_type,
        target_cost=amount(quote.target_cost_lamports) if isinstance(quote, BuyQuote) else None,
        price_yes_after=price(quote.price_yes_after),
        price_no_after=price(SCALE - quote.price_yes_after),
        price_impact=round(body.price_after / body.price_before - 1, 9) if body.price_before else 0.0,
        commitment=found.commitment,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/trades/estimate",
        handler=get_estimate,
        summary="Estimate a trade",
        tag="trades",
        access=Access.PUBLIC,
        query=EstimateQuery,
        responses={200: Estimate},
        errors=(MarketNotFound, MarketPending, ProgramRefused),
    ),
)

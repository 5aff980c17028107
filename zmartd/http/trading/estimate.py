"""What a trade would come to, for anybody who asks, from the market as it was indexed last."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from zmartd.chain.failures import ProgramRefused, failure_named
from zmartd.http.errors.requests import InvalidRequest, MarketPending, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import U64, Amount, Commitment, MarketKey, Price, amount, price
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.markets.lookup import chain_market
from zmartd.http.trading.trade_transactions import Market, Outcome, QuoteBody, Shares, quote_body
from zmartd.market import quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.market.quotes import BuyQuote, Pool, Quote
from zmartd.store import markets
from zmartd.store.markets import MarketNotFound, MarketPricing


class EstimateQuery(Struct, frozen=True, kw_only=True):
    """Of a purchase either `target_cost`, the most to pay with fees, or `shares`, at least so many; of a sale
    `shares`.
    """

    market_id: Market
    trade_type: Annotated[Literal["buy", "sell"], Meta(description="buy or sell")] = "buy"
    outcome: Outcome
    target_cost: Annotated[U64 | None, Meta(description="a whole number of lamports")] = None
    shares: Annotated[
        Shares | None,
        Meta(description="a whole number of share units (1000000000 = one share), 1 or more"),
    ] = None


class Estimate(QuoteBody, frozen=True, kw_only=True):
    """What the program would do to the lamport, had nobody traded in the market since `slot`.

    `target_cost`, of a purchase, is the argument with which it comes to this: when shares were asked for, the
    smallest one that brings as many.
    """

    market_id: MarketKey
    trade_type: Literal["buy", "sell"]
    """Whether this is a purchase or a sale."""
    target_cost: Amount | None
    """Lamports, the argument of buy_shares; null for a sale."""
    price_yes_after: Price
    """SOL a share of YES, once the trade is done."""
    price_no_after: Price
    """SOL a share of NO, once the trade is done."""
    price_impact: Annotated[
        float, Meta(description="how much dearer the traded outcome gets: 0.05 is by a twentieth")
    ]
    commitment: Commitment
    """How far the chain has settled on what the market is estimated from."""


async def get_estimate(call: Call[EstimateQuery]) -> Estimate:
    """What a purchase would cost and a sale would bring. Buying is what is not said to be selling."""
    query = call.input
    _check_amounts(query)
    found = await _curve(call, query.market_id)
    try:
        quote = _quote(found, query)
    except MarketMathError as error:
        raise ProgramRefused(failure_named(error.code, call.app[keys.IDL])) from error
    return _estimate(found, query, quote)


def _check_amounts(query: EstimateQuery) -> None:
    if (query.target_cost is None) == (query.shares is None):
        raise InvalidRequest(Problem("target_cost", "or else shares has to be given, and not both"))
    if query.trade_type == "sell" and query.shares is None:
        raise InvalidRequest(Problem("shares", "is required for a sale"))


async def _curve(call: Call[Any], reference: str) -> MarketPricing:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await markets.find_pricing(connection, reference)
        if found is not None:
            return found
        await chain_market(connection, reference)
    raise MarketNotFound(market=reference)


def _quote(found: MarketPricing, query: EstimateQuery) -> Quote:
    """Refusals come in the order in which the program checks."""
    if found.curve is None:
        raise MarketPending(market=found.market_id)
    if found.is_paused:
        raise MarketMathError("ProtocolPaused")
    if found.state is not MarketState.ACTIVE:
        raise MarketMathError("InvalidMarketState")
    pool = Pool(found.curve, found.rates)
    if query.target_cost is not None:
        return quotes.buy_for_cost(pool, query.outcome, query.target_cost)
    assert query.shares is not None, "checked with the request"
    if query.trade_type == "buy":
        return quotes.buy_for_shares(pool, query.outcome, query.shares)
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
        summary="What a trade would come to",
        tag="trades",
        query=EstimateQuery,
        answers={200: Estimate},
        errors=(MarketNotFound, MarketPending, ProgramRefused),
    ),
)

"""One market, by its id or its address."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, Commitment, MarketKey, Price, amount
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.markets.schemas import MarketBody, MarketToday, market_body, market_today, pending_body
from zmartd.http.response_cache.policies import OneMarket
from zmartd.store import discovery, markets, metadata
from zmartd.store.markets import MarketNotFound, MarketRow
from zmartd.store.postgres.reader import Reads


async def find_market(connection: Reads, reference: str) -> MarketBody:
    """The market with this id or address, on the chain or registered for it. Raises MarketNotFound."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market_body(market)
    registration = await metadata.find(connection, reference)
    if registration is not None:
        return pending_body(registration)
    raise MarketNotFound(market=reference)


async def chain_market(connection: Reads, reference: str) -> MarketRow:
    """The market with this id or address on the chain. Raises MarketNotFound, or MarketPending."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market
    if await metadata.find(connection, reference) is not None:
        raise MarketPending(market=reference)
    raise MarketNotFound(market=reference)


async def get_market(call: Call[None]) -> MarketToday:
    database = call.app[keys.DATABASE]
    async with database.caller(call.caller) as connection:
        body = await find_market(connection, call.path["id"])
    async with database.service() as connection:
        day = await discovery.day_of(connection, body.id)
    return market_today(body, day)


class Prices(Struct, frozen=True, kw_only=True):
    """What a share of each outcome costs at `slot`; null while the market is not on the chain."""

    market_id: MarketKey
    price_yes: Price
    """SOL a share of YES, from 0 to 1."""
    price_no: Price
    """SOL a share of NO, from 0 to 1."""
    shares_yes: Amount
    """All YES shares with nine decimals, the seed shares that nobody holds among them."""
    shares_no: Amount
    """All NO shares with nine decimals, the seed shares that nobody holds among them."""
    total_shares: Amount
    """Shares of both outcomes with nine decimals."""
    b_parameter: Amount | None
    """The liquidity parameter with nine decimals; null while only later events of the market are known."""
    slot: int | None
    """The slot of the last thing indexed of the market; null while it is not on the chain."""
    commitment: Commitment | None
    """How far the chain has settled on it; null while the market is not on the chain."""


async def get_prices(call: Call[None]) -> Prices:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
    return Prices(
        market_id=market.id,
        price_yes=market.price_yes,
        price_no=market.price_no,
        shares_yes=market.shares_yes,
        shares_no=market.shares_no,
        total_shares=amount(int(market.shares_yes) + int(market.shares_no)),
        b_parameter=market.b_parameter,
        slot=market.slot,
        commitment=market.commitment,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}",
        handler=get_market,
        summary="One market",
        tag="markets",
        answers={200: MarketToday},
        cache=OneMarket(),
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/prices",
        handler=get_prices,
        summary="A market's prices now",
        tag="markets",
        answers={200: Prices},
        errors=(MarketNotFound,),
    ),
)

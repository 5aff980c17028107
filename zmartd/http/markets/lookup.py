"""One market, by its id or its address."""

from __future__ import annotations

from typing import Any

from asyncpg import Connection

from zmartd.http.errors.requests import MarketPending
from zmartd.http.kit import keys
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.markets.body import MarketBody, MarketToday, market_body, market_today, pending_body
from zmartd.http.response_cache.policies import OneMarket
from zmartd.store import discovery, markets, metadata
from zmartd.store.markets import Market, MarketNotFound


async def find_market(connection: Connection, reference: str) -> MarketBody:
    """The market with this id or address, on the chain or registered for it. Raises MarketNotFound."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market_body(market)
    registration = await metadata.find(connection, reference)
    if registration is not None:
        return pending_body(registration)
    raise MarketNotFound(market=reference)


async def chain_market(connection: Connection, reference: str) -> Market:
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
)

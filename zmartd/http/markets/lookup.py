"""One market, by its id or its address."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, ClassVar, Self

from aiohttp import web
from msgspec import Struct

from zmartd.http.errors.requests import MarketPending, PendingDetails
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, Commitment, Field, MarketKey, Price, amount
from zmartd.http.kit.operation import Access, AtPosition, Call, Operation
from zmartd.http.kit.path_variables import PathVariable
from zmartd.http.markets.bodies import body_of, body_with_details
from zmartd.http.markets.schemas import (
    MarketDetail24h,
    market_body,
    market_detail_24h,
    pending_market_body,
)
from zmartd.http.response_cache.policies import CacheByMarket
from zmartd.market.proposal import ResolutionTexts
from zmartd.store import market_details, markets, metadata
from zmartd.store.market_details import MarketDetails
from zmartd.store.markets import MarketNotFound, MarketReference, MarketRow
from zmartd.store.metadata import Registration
from zmartd.store.postgres.reader import Reads

SLUG_RULE = "a market's slug: lower-case letters, digits and single hyphens, at most 100 characters"
_SLUG = re.compile("[a-z0-9]+(-[a-z0-9]+)*")


class SlugText(Field, str):
    """A market's name in URLs."""

    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$",
        "maxLength": 100,
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > 100 or not _SLUG.fullmatch(raw):
            raise ValueError("not a slug")
        return cls(raw)


SLUG = PathVariable(SlugText, SLUG_RULE)


class FoundMarket(Struct, frozen=True):
    """A market on the chain, or a pending one."""

    id: str
    category: str
    created_at: datetime
    discussion_snapshot_cid: str | None = None


async def any_market(connection: Reads, reference: str) -> FoundMarket:
    """The market with this id or address, on the chain or pending. Raises MarketNotFound."""
    found = await find_market(connection, reference)
    if isinstance(found, MarketRow):
        return FoundMarket(found.id, found.category, found.created_at, found.discussion_snapshot_cid)
    return FoundMarket(found.metadata.market_id, found.metadata.category, found.created_at)


async def find_market(connection: Reads, reference: str) -> MarketRow | Registration:
    """The market with this id or address, on the chain or as it is registered. Raises MarketNotFound."""
    found = await markets.find(connection, reference) or await metadata.find(connection, reference)
    if found is None:
        raise MarketNotFound(MarketReference(given=reference))
    return found


async def chain_market(connection: Reads, reference: str) -> MarketRow:
    """The market with this id or address on the chain. Raises MarketNotFound, or MarketPending."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market
    if await metadata.find(connection, reference) is not None:
        raise MarketPending(PendingDetails(reference))
    raise MarketNotFound(MarketReference(given=reference))


async def get_market(call: Call[None]) -> AtPosition:
    """`Stream-Position` is what a subscription over the WebSocket can resume from: it tells what came after
    this answer.
    """
    reference = call.path["id"]
    async with call.app[keys.DATABASE].service_reader() as connection:
        found = await market_details.find(connection, reference) or await _pending(connection, reference)
    if found is None:
        raise MarketNotFound(MarketReference(given=reference))
    return await _detail(call.app, found)


async def get_market_by_slug(call: Call[None]) -> AtPosition:
    """The same answer as by the market's id. A slug never changes, and is never another market's."""
    slug = call.path["slug"]
    found: MarketDetails | _Pending | None
    async with call.app[keys.DATABASE].service_reader() as connection:
        found = await market_details.find_by_slug(connection, slug)
        if found is None and (market_id := await metadata.find_by_slug(connection, slug)) is not None:
            found = await _pending(connection, market_id)
    if found is None:
        raise MarketNotFound(
            MarketReference(slug=slug), "No market has this slug; GET /api/markets?q=WORDS searches."
        )
    return await _detail(call.app, found)


class _Pending(Struct, frozen=True):
    registration: Registration
    texts: ResolutionTexts


async def _pending(connection: Reads, reference: str) -> _Pending | None:
    found = await metadata.find(connection, reference)
    if found is None:
        return None
    return _Pending(found, await metadata.resolution_texts(connection, found.metadata.market_id))


async def _detail(app: web.Application, found: MarketDetails | _Pending) -> AtPosition:
    if isinstance(found, MarketDetails):
        body = await body_with_details(app, found)
        detail = market_detail_24h(body, found.day, found.texts, found.evidence)
        return AtPosition(detail, found.market.stream_position)
    detail = market_detail_24h(await body_of(app, found.registration), None, found.texts, {})
    return AtPosition(detail, None)


class Prices(Struct, frozen=True, kw_only=True):
    """The prices of a market as of `slot`. A pending market has the prices with which it will begin."""

    market_id: MarketKey
    price_yes: Price
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL, from 0 to 1."""
    shares_yes: Amount
    """All YES shares with nine decimals, including the seed shares that nobody holds."""
    shares_no: Amount
    """All NO shares with nine decimals, including the seed shares that nobody holds."""
    total_shares: Amount
    """The shares of both outcomes together, with nine decimals."""
    b_parameter: Amount | None
    """The liquidity parameter with nine decimals; null while the market's creation is not indexed."""
    slot: int | None
    """The slot of the market's last indexed change; null for a pending market."""
    commitment: Commitment | None
    """The commitment of what is shown; null for a pending market."""


async def get_prices(call: Call[None]) -> Prices:
    async with call.app[keys.DATABASE].reader(call.caller) as connection:
        found = await find_market(connection, call.path["id"])
    now = await call.app[keys.CHAIN_TIME]()
    if isinstance(found, MarketRow):
        market = market_body(found, (), now)
    else:
        market = pending_market_body(found, (), now)
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
        shows_market=True,
        reads_once=True,
        summary="One market",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: MarketDetail24h},
        cache=CacheByMarket(),
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/by-slug/{slug}",
        handler=get_market_by_slug,
        shows_market=True,
        reads_once=True,
        summary="One market, by its name in URLs",
        tag="markets",
        access=Access.PUBLIC,
        variables={"slug": SLUG},
        responses={200: MarketDetail24h},
        # A slug is no id, whatever it looks like.
        cache=CacheByMarket("slug", SLUG, is_id=lambda _: False),
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/prices",
        handler=get_prices,
        shows_market=True,
        name="get_market_prices",
        summary="The current prices of a market",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: Prices},
        errors=(MarketNotFound,),
    ),
)

"""Ways to find markets: trending markets, categories, and markets related to another."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from msgspec import Meta, Struct, field

from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, Category, MarketKey, MarketRef, Price, PriceChange, amount, price
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import Limit
from zmartd.http.kit.path_variables import MARKET, PathVariable
from zmartd.http.markets.lookup import any_market
from zmartd.http.response_cache.policies import CacheForAllMarkets
from zmartd.store import discovery
from zmartd.store.discovery import CategoryTotals, Trending, price_change
from zmartd.store.markets import MarketNotFound
from zmartd.store.postgres.reader import Reads

EMOJI: Final = {
    "crypto": "₿",
    "politics": "🏛️",
    "sports": "⚽",
    "technology": "💻",
    "finance": "📈",
    "science": "🔬",
    "entertainment": "🎬",
    "other": "🔮",
}
_SCORE_IN_ONE = 10**10


class TrendingQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 3


class TrendingMarket(Struct, frozen=True, kw_only=True):
    """An active market with its last 24 hours."""

    id: MarketKey
    question: str
    """The market's question, as the creator registered it."""
    price_yes: Price
    """The current price of a YES share in SOL, from 0 to 1."""
    change_24h: PriceChange
    volume_24h: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    traders_24h: int
    """The number of wallets that traded in the last 24 hours."""
    trending_score: Annotated[float, Meta(description="0.6 x volume_24h in SOL + 0.4 x traders_24h")]
    stream_position: str
    """How far the market's stream had come in the same read, `epoch:seq`."""
    yes_price: Annotated[Price, DEPRECATED] = field(name="yesPrice")
    """The same as price_yes."""
    change_points: Annotated[float, DEPRECATED] = field(name="change24h")
    """100 x change_24h."""
    volume_sol: Annotated[float, DEPRECATED] = field(name="volume24h")
    """volume_24h in SOL."""


class TrendingList(Struct, frozen=True):
    trending: tuple[TrendingMarket, ...]
    """The highest score first."""
    count: int
    """The length of this list."""


class CategoryBody(Struct, frozen=True, kw_only=True):
    """A category of markets. `trend` compares the volume of the last 24 hours with the 24 hours before."""

    id: str
    """The category's name in requests."""
    name: str
    """The category's name for display, with a capital letter."""
    markets_count: int
    """The number of markets, in any state."""
    active_markets: int
    """The number of ACTIVE markets."""
    volume_24h: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    trend: Annotated[
        str, Meta(description="signed change in percent; `new` where there was no volume before")
    ]
    emoji: str
    """An emoji for the category."""
    count: Annotated[int, DEPRECATED]
    """The same as markets_count."""


class CategoryList(Struct, frozen=True):
    """All categories, those with the most markets first."""

    categories: tuple[CategoryBody, ...]
    """Includes categories without markets."""
    count: int
    """The number of categories."""


class UncheckedMarketRef(MarketRef):
    """Any text. One that names no market is answered with an empty list, not with an error."""

    @classmethod
    def parse(cls, raw: Any) -> Self:
        return cls(raw)


class RelatedQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 3


class RelatedMarket(Struct, frozen=True, kw_only=True):
    id: MarketKey
    question: str
    """The market's question, as the creator registered it."""
    price_yes: Price
    """The current price of a YES share in SOL, from 0 to 1."""
    category: str
    """The market's category."""
    stream_position: str
    """How far the market's stream had come in the same read, `epoch:seq`."""
    yes_price: Annotated[Price, DEPRECATED] = field(name="yesPrice")
    """The same as price_yes."""


class RelatedList(Struct, frozen=True):
    """Other active markets: those of the same category first, and of these the newest first."""

    related: tuple[RelatedMarket, ...]
    """The markets, without the one in the path."""
    count: int
    """The length of this list."""


async def list_trending(call: Call[TrendingQuery]) -> TrendingList:
    """The active markets with the highest score, from the volume and the traders of the last 24 hours."""
    query = call.input
    async with call.database.reader(call.caller) as connection:
        found = await discovery.trending(connection, query.limit)
    bodies = tuple(_trending(market) for market in found)
    return TrendingList(bodies, len(bodies))


async def list_categories(call: Call[None]) -> CategoryList:
    async with call.database.reader(call.caller) as connection:
        found = await discovery.categories(connection)
    known = {category.name for category in found}
    unused = tuple(CategoryTotals(name, 0, 0, 0, 0) for name in Category.ALL if name not in known)
    bodies = tuple(_category(category) for category in found + unused)
    return CategoryList(bodies, len(bodies))


async def list_related(call: Call[RelatedQuery]) -> RelatedList:
    """An unknown market is answered with an empty list."""
    query = call.input
    async with call.database.reader(call.caller) as connection:
        found = await _related(connection, call, query.limit)
    return RelatedList(found, len(found))


async def _related(connection: Reads, call: Call[Any], limit: int) -> tuple[RelatedMarket, ...]:
    try:
        market = await any_market(connection, call.path["id"])
    except MarketNotFound:
        return ()
    found = await discovery.related(connection, market.id, market.category, limit)
    return tuple(
        RelatedMarket(
            id=one.id,
            question=one.question,
            price_yes=price(one.price_yes),
            category=one.category,
            stream_position=one.stream_position,
            **earlier_answers.of_a_related_market(one.price_yes),
        )
        for one in found
    )


def _trending(market: Trending) -> TrendingMarket:
    return TrendingMarket(
        id=market.id,
        question=market.question,
        price_yes=price(market.price_yes),
        change_24h=price_change(market.price_yes_before, market.price_yes),
        volume_24h=amount(market.volume),
        traders_24h=market.traders,
        trending_score=market.score / _SCORE_IN_ONE,
        stream_position=market.stream_position,
        **earlier_answers.of_a_trending_market(market.price_yes, market.price_yes_before, market.volume),
    )


def _category(category: CategoryTotals) -> CategoryBody:
    return CategoryBody(
        id=category.name,
        name=category.name.capitalize(),
        markets_count=category.markets,
        active_markets=category.active,
        volume_24h=amount(category.volume),
        trend=trend(category.volume_before, category.volume),
        emoji=EMOJI[category.name],
        **earlier_answers.of_a_category(category.markets),
    )


def trend(before: int, after: int) -> str:
    """The change in whole percent with its sign; `new` where `before` is 0 and `after` is not."""
    if not before:
        return "new" if after else "+0%"
    percent = round((after - before) * 100 / before)
    return f"{percent:+d}%"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/trending",
        handler=list_trending,
        name="list_trending_markets",
        summary="Active markets with the most trading",
        tag="markets",
        access=Access.PUBLIC,
        query=TrendingQuery,
        responses={200: TrendingList},
        cache=CacheForAllMarkets("limit"),
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/markets/categories",
        handler=list_categories,
        summary="All categories with their number of markets and trend",
        tag="markets",
        access=Access.PUBLIC,
        responses={200: CategoryList},
        cache=CacheForAllMarkets(),
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/related",
        variables={"id": PathVariable(UncheckedMarketRef, MARKET.rule)},
        handler=list_related,
        name="list_related_markets",
        summary="Active markets related to a market: the same category first",
        tag="markets",
        access=Access.PUBLIC,
        query=RelatedQuery,
        responses={200: RelatedList},
        from_replica=True,
    ),
)

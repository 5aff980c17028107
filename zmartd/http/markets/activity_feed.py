"""What happened lately in all markets, as the sidebar of the site shows it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import MarketKey, Time
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, cursor_of, place_of
from zmartd.http.markets.schemas import outcome_label
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE
from zmartd.store import feed
from zmartd.store.feed import FEED_ITEM_TYPES, FeedItem, FeedItemType, FeedPageKey


class ActivityQuery(Struct, frozen=True, kw_only=True):
    type: Annotated[FeedItemType | None, Meta(description="trade, resolution or creation")] = None
    limit: Limit = 20
    cursor: NextCursor = None


class ActivityBody(Struct, frozen=True, rename="camel", kw_only=True):
    """One thing that happened, in words."""

    id: str
    """Of a trade its id; else `creation-` or `resolution-` and the market's id."""
    type: FeedItemType
    """What happened: a trade, a market's creation, or its final outcome."""
    user: Annotated[
        str | None, Meta(description="a trader's is shortened for callers who have not signed in")
    ]
    action: str
    """What was done, in words that go on from the user."""
    market: Annotated[str, Meta(description="the market's question")]
    market_id: MarketKey
    time: Time
    """When it happened, by the chain's clock."""
    amount: Annotated[str | None, Meta(description="what a trade cost or brought, in SOL with the unit")]


class ActivityList(Struct, frozen=True, kw_only=True):
    """What happened, newest first; `count` is the length of this page."""

    activities: tuple[ActivityBody, ...]
    """Those of this page."""
    count: PageLength
    next_cursor: NextPage


async def list_activity(call: Call[ActivityQuery]) -> ActivityList:
    """Trades, markets that were created, and markets that got their final outcome, in one list."""
    query = call.input
    after = place_of(query.cursor, FeedPageKey)
    types = FEED_ITEM_TYPES if query.type is None else (query.type,)
    caller = call.caller
    async with call.app[keys.DATABASE].caller(caller) as connection:
        page = await feed.newest(connection, caller, types, query.limit, after)
    bodies = tuple(_body(one) for one in page.rows)
    return ActivityList(activities=bodies, count=len(bodies), next_cursor=cursor_of(page.next_key))


def _body(happening: FeedItem) -> ActivityBody:
    cost = happening.cost
    return ActivityBody(
        id=happening.id,
        type=happening.type,
        user=happening.wallet,
        action=_action(happening),
        market=happening.question,
        market_id=happening.market_id,
        time=iso_time(happening.at),
        amount=None if cost is None else f"{_rounded(cost)} SOL",
    )


def _action(happening: FeedItem) -> str:
    if happening.type == "creation":
        return "created a market"
    label = None if happening.outcome is None else outcome_label(happening.outcome)
    if happening.type == "resolution":
        return "resolved without an outcome" if label is None else f"resolved to {label}"
    verb = "bought" if happening.trade_type == "buy" else "sold"
    shares = _rounded(happening.shares or 0).removesuffix(".00")
    return f"{verb} {shares} {label} shares"


def _rounded(number: int) -> str:
    """SOL of lamports, or whole shares, to the nearest hundredth."""
    hundredths = (number * 100 + SCALE // 2) // SCALE
    return f"{hundredths // 100}.{hundredths % 100:02d}"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/activity",
        handler=list_activity,
        summary="What happened lately in all markets",
        tag="markets",
        query=ActivityQuery,
        answers={200: ActivityList},
    ),
)

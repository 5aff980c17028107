"""The activity feed of all markets: trades, creations and resolutions, as the site's sidebar shows them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Commitment, MarketKey, Time
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, decode_cursor, encode_cursor
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
    """One entry of the feed, in words."""

    id: str
    """For a trade its id; else `creation-` or `resolution-` followed by the market's id."""
    type: FeedItemType
    """A trade, the creation of a market, or its final outcome."""
    user: Annotated[
        str | None,
        Meta(
            description="the wallet of the trader, creator or resolver; a trader's is shortened for anonymous"
            " callers; null where it is not known"
        ),
    ]
    action: str
    """What `user` did, as the rest of a sentence."""
    market: Annotated[str, Meta(description="the market's question")]
    market_id: MarketKey
    time: Time
    """When it happened, by the chain's clock."""
    commitment: Commitment
    """The commitment of the trade; for other entries, that of the market."""
    amount: Annotated[
        str | None,
        Meta(description="what a trade cost or returned, as SOL with the unit; null for other entries"),
    ]


class ActivityList(Struct, frozen=True, kw_only=True):
    """Entries of the feed, newest first; `count` is the length of this page."""

    activities: tuple[ActivityBody, ...]
    """The entries of this page."""
    count: PageLength
    next_cursor: NextPage


async def list_activity(call: Call[ActivityQuery]) -> ActivityList:
    """Trades, created markets and markets with a new final outcome, in one list."""
    query = call.input
    after = decode_cursor(query.cursor, FeedPageKey)
    types = FEED_ITEM_TYPES if query.type is None else (query.type,)
    caller = call.caller
    async with call.app[keys.DATABASE].reader(caller) as connection:
        page = await feed.newest(connection, caller, types, query.limit, after)
    bodies = tuple(_body(one) for one in page.rows)
    return ActivityList(activities=bodies, count=len(bodies), next_cursor=encode_cursor(page.next_key))


def _body(item: FeedItem) -> ActivityBody:
    cost = item.cost
    return ActivityBody(
        id=item.id,
        type=item.type,
        user=item.wallet,
        action=_action(item),
        market=item.question,
        market_id=item.market_id,
        time=iso_time(item.at),
        commitment=item.commitment,
        amount=None if cost is None else f"{_rounded(cost)} SOL",
    )


def _action(item: FeedItem) -> str:
    if item.type == "creation":
        return "created a market"
    label = None if item.outcome is None else outcome_label(item.outcome)
    if item.type == "resolution":
        return "resolved without an outcome" if label is None else f"resolved to {label}"
    verb = "bought" if item.trade_type == "buy" else "sold"
    shares = _rounded(item.shares or 0).removesuffix(".00")
    return f"{verb} {shares} {label} shares"


def _rounded(units: int) -> str:
    """Lamports in SOL, or share units in shares, rounded to two decimals."""
    hundredths = (units * 100 + SCALE // 2) // SCALE
    return f"{hundredths // 100}.{hundredths % 100:02d}"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/activity",
        handler=list_activity,
        summary="Recent trades, creations and resolutions of all markets",
        tag="markets",
        access=Access.PUBLIC,
        query=ActivityQuery,
        responses={200: ActivityList},
    ),
)

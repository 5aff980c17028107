"""The activity feed of all markets: trades, creations and resolutions, newest first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Amount, Commitment, MarketKey, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, decode_cursor, encode_cursor
from zmartd.http.markets.fees import FeeBody, fee_body
from zmartd.http.markets.schemas import OutcomeLabel, outcome_label
from zmartd.market.iso_time import iso_time
from zmartd.realtime.trade_summary import average_price
from zmartd.store import feed
from zmartd.store.feed import FEED_ITEM_TYPES, FeedItem, FeedItemType, FeedPageKey


class ActivityQuery(Struct, frozen=True, kw_only=True):
    type: Annotated[FeedItemType | None, Meta(description="trade, resolution or creation")] = None
    """Only entries of this type."""
    limit: Limit = 20
    cursor: NextCursor = None


class ActivityBody(Struct, frozen=True, kw_only=True):
    """One entry of the feed."""

    id: str
    """For a trade its id; else `creation-` or `resolution-` followed by the market's id."""
    type: FeedItemType
    """A trade, the creation of a market, or its final outcome."""
    user_wallet: str | None
    """The wallet that traded, created the market, or proposed its outcome, which the backend makes final; a
    trader's is shortened for anonymous callers; null where it is not known."""
    market_id: MarketKey
    question: str
    """The market's question, as the creator registered it."""
    trade_type: Literal["buy", "sell"] | None
    """`buy` or `sell`; null for what is no trade."""
    outcome: bool | None
    """The traded outcome, or the final one: true for YES, false for NO; null for a creation, and where all
    holders are refunded."""
    outcome_label: OutcomeLabel | None
    """The name of the outcome; null where that is null."""
    proposed_outcome: bool | None
    """Of a resolution: the outcome that user_wallet proposed, true for YES, false for NO. After a dispute the
    final one may be another. Else null."""
    shares: Annotated[Amount | None, Meta(description="nine decimals; null for what is no trade")]
    gross: Annotated[
        Amount | None, Meta(description="lamports of a trade before fees, as in lists of trades; else null")
    ]
    fee: FeeBody | None
    """The fee of a trade and its parts; null for what is no trade."""
    net: Annotated[
        Amount | None, Meta(description="lamports that a trade moved, as in lists of trades; else null")
    ]
    average_price: Annotated[
        float | None, Meta(description="net / shares of a trade, in SOL per share; else null")
    ]
    occurred_at: Time
    """When it happened."""
    commitment: Commitment
    """The commitment of the trade; for other entries, that of the market."""
    user: Annotated[str | None, DEPRECATED]
    """The same as user_wallet."""
    action: Annotated[str, DEPRECATED]
    """What `user` did, as the rest of a sentence."""
    market: Annotated[str, DEPRECATED]
    """The same as question."""
    market_key: Annotated[MarketKey, DEPRECATED] = field(name="marketId")
    """The same as market_id."""
    time: Annotated[str, DEPRECATED]
    """The same as occurred_at."""
    amount: Annotated[str | None, DEPRECATED]
    """net as SOL with the unit, rounded."""


class ActivityList(Struct, frozen=True, kw_only=True):
    """Entries of the feed, newest first; `count` is the length of this page.

    There is no total: the entries would have to be counted. `GET /api/stats` has the numbers of all trades
    and markets.
    """

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
    async with call.database.reader(caller) as connection:
        page = await feed.newest(connection, caller, types, query.limit, after)
    bodies = tuple(_body(one) for one in page.rows)
    return ActivityList(activities=bodies, count=len(bodies), next_cursor=encode_cursor(page.next_key))


def _body(item: FeedItem) -> ActivityBody:
    at, trade = iso_time(item.at), item.trade
    return ActivityBody(
        id=item.id,
        type=item.type,
        user_wallet=item.wallet,
        market_id=item.market_id,
        question=item.question,
        trade_type=None if trade is None else trade.trade_type,
        outcome=item.outcome,
        outcome_label=None if item.outcome is None else outcome_label(item.outcome),
        proposed_outcome=item.proposed_outcome,
        shares=None if trade is None else amount(trade.shares),
        gross=None if trade is None else amount(trade.amount),
        fee=None if trade is None else fee_body(trade.fees),
        net=None if trade is None else amount(trade.cost),
        average_price=None if trade is None else average_price(trade.cost, trade.shares),
        occurred_at=at,
        commitment=item.commitment,
        **earlier_answers.of_an_activity(item, at),
    )


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
        from_replica=True,
    ),
)

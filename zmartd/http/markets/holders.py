"""The largest holders of a market's shares."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit.fields import Amount, MarketKey, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import Limit, NextCursor, NextPage, PageLength, decode_cursor, encode_cursor
from zmartd.http.markets.lookup import any_market
from zmartd.http.markets.schemas import OutcomeFilter, OutcomeLabel, outcome_label
from zmartd.store import holders
from zmartd.store.holders import Holder, HolderPageKey
from zmartd.store.markets import MarketNotFound


class HoldersQuery(Struct, frozen=True, kw_only=True):
    outcome: Annotated[OutcomeFilter | None, Meta(description="true for YES or false for NO")] = None
    """Only holders of this outcome."""
    limit: Limit = 20
    cursor: NextCursor = None


class HolderBody(Struct, frozen=True, kw_only=True):
    """A wallet's shares of one outcome."""

    user_wallet: Annotated[str, Meta(description="the holder's address; shortened for anonymous callers")]
    outcome: bool
    """True for YES, false for NO."""
    outcome_label: OutcomeLabel
    """The name of the outcome."""
    shares: Amount
    """The wallet's shares of the outcome, with nine decimals."""
    percent: Annotated[
        float, Meta(ge=0, le=100, description="percent of the shares of this outcome that wallets hold")
    ]


class HolderList(Struct, frozen=True, kw_only=True):
    """Holdings, the largest first; `count` is the length of this page."""

    market_id: MarketKey
    holders: tuple[HolderBody, ...]
    """The holdings of this page. A wallet that holds both outcomes is in the list twice."""
    count: PageLength
    total: int
    """The number of holdings of the requested outcomes, on all pages."""
    next_cursor: NextPage


async def list_holders(call: Call[HoldersQuery]) -> HolderList:
    """The holders of one outcome, or of both in one list."""
    query = call.input
    after = decode_cursor(query.cursor, HolderPageKey)
    outcome = None if query.outcome is None else bool(query.outcome)
    caller, database = call.caller, call.database
    async with database.reader(caller) as connection:
        market = await any_market(connection, call.path["id"])
    async with database.service_reader() as connection:
        page = await holders.of_market(
            connection, caller, market.id, outcome=outcome, limit=query.limit, after=after
        )
    return HolderList(
        market_id=market.id,
        holders=tuple(_body(one) for one in page.rows),
        count=len(page.rows),
        total=page.total,
        next_cursor=encode_cursor(page.next_key),
    )


def _body(holder: Holder) -> HolderBody:
    return HolderBody(
        user_wallet=holder.wallet,
        outcome=holder.outcome,
        outcome_label=outcome_label(holder.outcome),
        shares=amount(holder.shares),
        percent=round(holder.shares * 100 / holder.shares_of_all, 2),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/holders",
        handler=list_holders,
        shows_market=True,
        summary="The largest holders of a market",
        tag="markets",
        access=Access.PUBLIC,
        query=HoldersQuery,
        responses={200: HolderList},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
)

"""The feed: trades, new markets and resolutions of all markets in one list."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

from asyncpg import Record
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.store.keyset import Page, from_micros, page_of, to_micros
from zmartd.store.platform import ChargedFees
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

FeedItemType = Literal["trade", "resolution", "creation"]

FEED_ITEM_TYPES: Final[tuple[FeedItemType, ...]] = ("trade", "resolution", "creation")

_WHOLE_WALLETS = """
with traded as (
    select 'trade' as type, (tx_signature || ':' || event_index) collate "C" as place, user_wallet as wallet,
           market_id, block_time as at, commitment, trade_type, outcome, shares, cost, amount, protocol_fee,
           resolver_fee, lp_fee
      from trades
     where 'trade' = any($1::text[]) and block_time <= coalesce($2::timestamptz, 'infinity')
       and ($2 is null
            or (block_time, (tx_signature || ':' || event_index) collate "C") < ($2, $3::text collate "C"))
     order by at desc, place desc limit $4
), created as (
    select 'creation' as type, ('creation-' || id) collate "C" as place, creator_wallet as wallet,
           id as market_id, created_at as at, commitment
      from markets
     where 'creation' = any($1) and not orphaned and chain_confirmed
       and created_at <= coalesce($2, 'infinity')
       and ($2 is null or (created_at, ('creation-' || id) collate "C") < ($2, $3 collate "C"))
     order by at desc, place desc limit $4
), resolved as (
    select 'resolution' as type, ('resolution-' || id) collate "C" as place, resolver_wallet as wallet,
           id as market_id, finalized_at as at, commitment, final_outcome as outcome, proposed_outcome
      from markets
     where 'resolution' = any($1) and not orphaned and state = 'FINALIZED'
       and finalized_at <= coalesce($2, 'infinity')
       and ($2 is null or (finalized_at, ('resolution-' || id) collate "C") < ($2, $3 collate "C"))
     order by at desc, place desc limit $4
), newest as (
    select type, place, wallet, market_id, at, commitment, trade_type, outcome, shares, cost, amount,
           protocol_fee, resolver_fee, lp_fee, null::boolean as proposed_outcome
      from traded
    union all
    select type, place, wallet, market_id, at, commitment,
           null, null, null, null, null, null, null, null, null
      from created
    union all
    select type, place, wallet, market_id, at, commitment, null, outcome, null, null, null, null, null, null,
           proposed_outcome
      from resolved
     order by at desc, place desc limit $4
)
select type, place as id, wallet, market_id, (select question from markets where id = newest.market_id), at,
       commitment, trade_type, outcome, shares, cost, amount, protocol_fee, resolver_fee, lp_fee,
       proposed_outcome
  from newest
 order by at desc, place desc
"""
_ITEMS = {
    ANONYMOUS: _WHOLE_WALLETS.replace("user_wallet as", "user_masked as"),
    AUTHENTICATED: _WHOLE_WALLETS,
}
_ID = re.compile("[A-Za-z0-9:-]{1,120}", re.ASCII)


class FeedTrade(Struct, frozen=True):
    """What a trade came to. Amounts are lamports; shares have nine decimals."""

    trade_type: Literal["buy", "sell"]
    shares: int
    cost: int
    """A buyer's total with fees, or a seller's proceeds after fees."""
    amount: int
    """Before fees."""
    fees: ChargedFees


class FeedItem(Struct, frozen=True):
    """A trade, the creation of a market, or its resolution."""

    type: FeedItemType
    id: str
    wallet: str | None
    """Who traded, created the market, or proposed its outcome. Anonymous callers see a trader's shortened."""
    market_id: str
    question: str
    at: datetime
    commitment: Commitment
    """The trade's; of the others the market's."""
    outcome: bool | None
    """The traded outcome, or the final one."""
    proposed_outcome: bool | None
    """Of a resolution: the outcome that `wallet` proposed, which need not be the final one."""
    trade: FeedTrade | None
    """Of a trade."""


class FeedPageKey(Struct, frozen=True):
    """A page begins after this item. Raises ValueError for an invalid time or id."""

    at_micros: int
    id: str

    def __post_init__(self) -> None:
        from_micros(self.at_micros)
        if not _ID.fullmatch(self.id):
            raise ValueError("not the id of a feed item")


async def newest(
    connection: Reads,
    caller: Caller,
    types: Collection[FeedItemType],
    limit: int,
    after: FeedPageKey | None = None,
) -> Page[FeedItem, FeedPageKey]:
    """A page of the items of these types, newest first. Takes a transaction or reader of `caller`."""
    key = (None, None) if after is None else (from_micros(after.at_micros), after.id)
    rows = await connection.fetch(_ITEMS[caller.role], list(types), *key, limit + 1)
    return page_of([_item(row) for row in rows], limit, _key_of)


def _item(row: Record) -> FeedItem:
    trade = None
    if row["type"] == "trade":
        fees = ChargedFees(row["protocol_fee"], row["resolver_fee"], row["lp_fee"])
        trade = FeedTrade(row["trade_type"], row["shares"], row["cost"], row["amount"], fees)
    return FeedItem(
        type=row["type"],
        id=row["id"],
        wallet=row["wallet"],
        market_id=row["market_id"],
        question=row["question"],
        at=row["at"],
        commitment=row["commitment"],
        outcome=row["outcome"],
        proposed_outcome=row["proposed_outcome"],
        trade=trade,
    )


def _key_of(happening: FeedItem) -> FeedPageKey:
    return FeedPageKey(to_micros(happening.at), happening.id)

"""Effects of claims, liquidity withdrawals and transfers of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncpg import Connection

from zmartd.chain.events import LiquidityWithdrawn, SharesTransferred, WinningsClaimed
from zmartd.indexer.events.rows import EventRow

_CLAIMED_POSITION = """
insert into user_positions as held (market_id, user_wallet, has_claimed, claimed_amount, claimed_at, slot)
values ($1, $2, true, $3, $4, $5)
on conflict (market_id, user_wallet) do update
   set has_claimed = true, claimed_amount = held.claimed_amount + excluded.claimed_amount,
       claimed_at = excluded.claimed_at, slot = greatest(held.slot, excluded.slot), updated_at = now()
"""
_CLAIMED_MARKET = """
update markets
   set resolver_paid = resolver_paid or $3, claimed_total = claimed_total + $2,
       claims_count = claims_count + 1
 where id = $1
"""
_WITHDRAWN = "update markets set liquidity_withdrawn = coalesce(liquidity_withdrawn, 0) + $2 where id = $1"
_TRANSFERRED = """
insert into user_positions as held (market_id, user_wallet, shares_yes, shares_no, slot)
values ($1, $2, $3, $4, $5)
on conflict (market_id, user_wallet) do update
   set shares_yes = held.shares_yes + excluded.shares_yes, shares_no = held.shares_no + excluded.shares_no,
       slot = greatest(held.slot, excluded.slot), updated_at = now()
"""

_PAYING = frozenset({LiquidityWithdrawn, SharesTransferred, WinningsClaimed})


async def apply_payouts(
    connection: Connection, rows: Sequence[EventRow], market_ids: Mapping[str, str]
) -> None:
    """Apply claims, withdrawals and transfers.

    `market_ids` maps addresses of known markets to ids. Events of other markets are applied once the market
    is known.
    """
    statements: dict[str, list[tuple[Any, ...]]] = {}
    paid = [row for row in rows if type(row.event) in _PAYING]
    for row in sorted(paid, key=lambda row: (row.market_address or row.market_id or "", row.key)):
        for statement, arguments in _effects(row, market_ids):
            statements.setdefault(statement, []).append(arguments)
    for statement, batch in sorted(statements.items()):
        await connection.executemany(statement, sorted(batch))


def _effects(row: EventRow, market_ids: Mapping[str, str]) -> list[tuple[str, tuple[Any, ...]]]:
    match row.event:
        case LiquidityWithdrawn(market_id=raw, amount=amount):
            return [(_WITHDRAWN, (raw.hex(), amount))]
        case WinningsClaimed(market=market, user=user, amount=amount) if str(market) in market_ids:
            market_id = market_ids[str(market)]
            claim = (market_id, str(user), amount, row.occurred_at, row.slot)
            return [
                (_CLAIMED_POSITION, claim),
                (_CLAIMED_MARKET, (market_id, amount, row.context.resolver_fee > 0)),
            ]
        case SharesTransferred(market=market, outcome=outcome, shares=shares) as moved if (
            str(market) in market_ids
        ):
            market_id = market_ids[str(market)]
            yes, no = (shares, 0) if outcome else (0, shares)
            return [
                (_TRANSFERRED, (market_id, str(moved.from_), -yes, -no, row.slot)),
                (_TRANSFERRED, (market_id, str(moved.to), yes, no, row.slot)),
            ]
        case _:
            return []

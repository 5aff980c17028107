"""What all of a wallet's trading came to, summed up where its positions are."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads


def _floor_of(numerator: str, denominator: str) -> str:
    """SQL: the integer at or below the quotient of two integers, the second of which is positive."""
    rest = f"mod(mod({numerator}, {denominator}) + {denominator}, {denominator})"
    return f"div({numerator} - {rest}, {denominator})"


_OWED: Final = "greatest(held.total_invested - held.total_returned, 0)"
_SHARES: Final = "case when market.final_outcome then held.shares_yes else held.shares_no end"
_TOTAL: Final = "case when market.final_outcome then market.shares_yes else market.shares_no end"
# As `zmartd.market.valuation` values a position, for which nothing but its value is needed here.
_VALUE: Final = f"""
case when held.has_claimed then 0
     when market.state in ('ACTIVE', 'RESOLVING', 'DISPUTED')
     then div(greatest(held.shares_yes, 0) * market.price_yes, 1000000000)
          + div(greatest(held.shares_no, 0) * (1000000000 - market.price_yes), 1000000000)
     when market.state <> 'FINALIZED' then 0
     when market.final_outcome is null
     then case when {_OWED} = 0 or coalesce(refunded.refundable, 0) <= market.current_liquidity then {_OWED}
               else {_floor_of(f"({_OWED} * market.current_liquidity)", "refunded.refundable")} end
     when {_SHARES} <= 0 or {_TOTAL} <= 0 then 0
     else {_floor_of(f"({_SHARES}) * market.current_liquidity", f"({_TOTAL})")}
end
"""
_RESULTS: Final = kept(f"""
select coalesce(sum(trades_count), 0)::bigint as trades,
       (select coalesce(sum(volume), 0) from lots where user_wallet = $1) as volume,
       coalesce(sum(profit), 0) as profit,
       count(*) filter (where state = 'FINALIZED') as ended,
       count(*) filter (where state = 'FINALIZED' and profit > 0) as won,
       count(*) filter (where is_active) as active
  from (
    select held.trades_count, market.state,
           held.total_returned + held.claimed_amount + {_VALUE} - held.total_invested as profit,
           market.state not in ('FINALIZED', 'CANCELLED')
           and greatest(held.shares_yes, held.shares_no) > 0 as is_active
      from (select * from user_positions where user_wallet = $1 offset 0) as held
     cross join lateral (
        select state, final_outcome, shares_yes, shares_no, current_liquidity,
               (current_price_yes * 1000000000)::bigint as price_yes
          from markets where id = held.market_id offset 0
     ) as market
      left join lateral (
        select refundable from market_holdings
         where market_id = held.market_id and market.state = 'FINALIZED' and market.final_outcome is null
        offset 0
     ) as refunded on true
  ) as valued
""")  # noqa: S608 - constants


class TradingResults(Struct, frozen=True):
    """Sums over all positions of a wallet, in lamports where nothing else is said."""

    trades: int
    """The number of its trades."""
    volume: int
    """Purchases with fees and sales before fees."""
    profit: int
    """Realized and unrealized."""
    ended: int
    """The number of its markets that are finalized."""
    won: int
    """The number of those that brought a profit."""
    active: int
    """The number of markets, not finalized or cancelled, in which it holds shares."""


async def of_wallet(connection: Reads, wallet: str) -> TradingResults:
    """The results of a wallet. Takes a service reader: refunds depend on other wallets' positions."""
    row = await connection.fetchrow(_RESULTS, wallet)
    assert row is not None, "sums always have a row"
    return TradingResults(*(int(value) for value in row))

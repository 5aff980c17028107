"""A wallet's positions with their valuation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.market.valuation import MarketFigures, PositionFigures, Valuation, value_position
from zmartd.store import positions
from zmartd.store.keyset import Page
from zmartd.store.positions import Holdings, PositionPageKey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.raw_positions import KEPT, Position, RawPosition, position_of


class ValuedPosition(Struct, frozen=True):
    """A position with its value and profit."""

    position: Position
    valuation: Valuation


async def read_positions(database: Database, wallet: str, after: PositionPageKey | None = None) -> Holdings:
    """All positions of a wallet, last traded first.

    `after`, where a page begins, keeps the order that the positions had when the first page was read.
    """
    async with database.reader(Caller(wallet)) as connection:
        return await positions.of_wallet(connection, wallet, after)


async def read_page(
    database: Database, wallet: str, limit: int | None, after: PositionPageKey | None
) -> Page[RawPosition, PositionPageKey]:
    """A page of a wallet's positions, last traded first; all that are left with a limit of None."""
    async with database.reader(Caller(wallet)) as connection:
        return await positions.page(connection, wallet, limit, after)


async def value_positions(
    database: Database, rows: Sequence[RawPosition], *, with_sales: bool = False
) -> tuple[ValuedPosition, ...]:
    """Each of the positions with its valuation, `with_sales` also with what selling its shares brings."""
    refundable = await refundable_lamports(database, rows)
    return tuple(value_row(row, refundable.get(row, 0), with_sales) for row in rows)


async def refundable_lamports(database: Database, rows: Sequence[RawPosition]) -> Mapping[RawPosition, int]:
    """Of those positions whose markets ended without an outcome what all holders together may be refunded.

    These sums are of other wallets' positions, too, and read in a statement of their own, which is consistent
    because they do not change once a market has ended so.
    """
    refunded = {row: position_of(row).market.id for row in rows if _is_refunded(position_of(row))}
    if not refunded:
        return {}
    async with database.service_reader() as connection:
        lamports = await positions.refundable(connection, list(refunded.values()))
    return {row: lamports.get(market_id, 0) for row, market_id in refunded.items()}


@lru_cache(KEPT)
def value_row(row: RawPosition, refundable_lamports: int, with_sale: bool) -> ValuedPosition:
    """The position of a row with its valuation."""
    position = position_of(row)
    market = position.market
    valuation = value_position(
        PositionFigures(
            shares_yes=position.shares_yes,
            shares_no=position.shares_no,
            cost_yes_lamports=position.cost_yes,
            cost_no_lamports=position.cost_no,
            invested_lamports=position.total_invested,
            returned_lamports=position.total_returned,
            claimed_lamports=position.claimed_amount,
            has_claimed=position.has_claimed,
        ),
        MarketFigures(
            state=market.state,
            final_outcome=market.final_outcome,
            price_yes=market.price_yes,
            current_liquidity_lamports=market.current_liquidity,
            refundable_lamports=refundable_lamports,
            shares_yes=market.shares_yes,
            shares_no=market.shares_no,
            b_parameter=market.b_parameter,
            rates=market.rates,
        ),
        with_sale=with_sale,
    )
    return ValuedPosition(position, valuation)


def _is_refunded(position: Position) -> bool:
    market = position.market
    return market.final_outcome is None and market.state is MarketState.FINALIZED

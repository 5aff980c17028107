"""A wallet's positions with their valuation."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.market.valuation import MarketFigures, PositionFigures, Valuation, value_position
from zmartd.store import positions
from zmartd.store.keyset import Page
from zmartd.store.positions import Holdings, Position, PositionPageKey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller


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
) -> Page[Position, PositionPageKey]:
    """A page of a wallet's positions, last traded first; all that are left with a limit of None."""
    async with database.reader(Caller(wallet)) as connection:
        return await positions.page(connection, wallet, limit, after)


async def value_positions(
    database: Database, found: Sequence[Position], *, with_sales: bool = False
) -> tuple[ValuedPosition, ...]:
    """Each of the positions with its valuation, `with_sales` also with what selling its shares would bring.

    Refunds also depend on other wallets' positions. These sums are read in a statement of their own, which
    is consistent because they do not change once a market has ended without an outcome.
    """
    refunded = [position.market.id for position in found if _is_refunded(position)]
    refundable: dict[str, int] = {}
    if refunded:
        async with database.service_reader() as connection:
            refundable = await positions.refundable(connection, refunded)
    return tuple(
        ValuedPosition(position, _value(position, refundable.get(position.market.id, 0), with_sales))
        for position in found
    )


def _is_refunded(position: Position) -> bool:
    market = position.market
    return market.state is MarketState.FINALIZED and market.final_outcome is None


def _value(position: Position, refundable_lamports: int, with_sale: bool) -> Valuation:
    market = position.market
    return value_position(
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

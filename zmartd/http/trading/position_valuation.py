"""A wallet's positions with their worth, as handlers need them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from zmartd.http.kit.pagination import Limit, NextCursor
from zmartd.market import valuation
from zmartd.market.lifecycle import MarketState
from zmartd.market.valuation import HeldMarket, Holding, Valuation
from zmartd.store import positions
from zmartd.store.positions import Holdings, Position, PositionPageKey
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller


class PositionsQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 100
    cursor: NextCursor = None


class Held(Struct, frozen=True):
    """A position and what it is worth."""

    position: Position
    worth: Valuation


async def read_holdings(database: Database, wallet: str, after: PositionPageKey | None = None) -> Holdings:
    """All positions of a wallet as of one moment, in the order of the walk that got to `after`."""
    async with database.reader(Caller(wallet)) as connection:
        return await positions.of_wallet(connection, wallet, after)


async def read_held(database: Database, wallet: str) -> tuple[Held, ...]:
    """All positions of a wallet as of one moment, last traded first, with their worth."""
    holdings = await read_holdings(database, wallet)
    return await value_all(database, holdings.positions)


async def value_all(database: Database, held: Sequence[Position]) -> tuple[Held, ...]:
    """Positions with their worth.

    What all holders of a market without an outcome are owed together is read by itself: it includes other
    wallets' positions, and does not change any more.
    """
    refunding = [position.market.id for position in held if _is_refunded(position)]
    refundable: dict[str, int] = {}
    if refunding:
        async with database.service() as connection:
            refundable = await positions.refundable(connection, refunding)
    return tuple(Held(position, _value(position, refundable.get(position.market.id, 0))) for position in held)


def _is_refunded(position: Position) -> bool:
    market = position.market
    return market.state is MarketState.FINALIZED and market.final_outcome is None


def _value(position: Position, refundable_lamports: int) -> Valuation:
    market = position.market
    return valuation.value(
        Holding(
            shares_yes=position.shares_yes,
            shares_no=position.shares_no,
            cost_yes_lamports=position.cost_yes,
            cost_no_lamports=position.cost_no,
            invested_lamports=position.total_invested,
            returned_lamports=position.total_returned,
            claimed_lamports=position.claimed_amount,
            has_claimed=position.has_claimed,
        ),
        HeldMarket(
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
    )

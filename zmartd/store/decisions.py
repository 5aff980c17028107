"""Admins' decisions about resolved and disputed markets, with their reasons. They are public."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.errors import AboutMarket, DetailedError
from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.reader import Reads

_RECORD = """
insert into market_decisions (market_id, state, decision, because, decided_by) values ($1, $2, $3, $4, $5)
returning market_id, state, decision, because, decided_by, decided_at
"""
_OF_MARKETS = """
select market_id, state, decision, because, decided_by, decided_at
  from market_decisions where market_id = any($1::text[]) order by decided_at
"""


class AlreadyDecided(DetailedError[AboutMarket]):
    """An admin has decided about this market in its present state, and a decision cannot be changed; GET
    /api/markets/{id}/settlement says what was decided.
    """

    code = "already_decided"


class MarketDecision(Struct, frozen=True):
    """A decision about a market that was in `state`. `decided_by` is None for the operator's."""

    market_id: str
    state: MarketState
    decision: Decision
    because: str
    decided_by: str | None
    decided_at: datetime


async def record(
    connection: Connection,
    market_id: str,
    state: MarketState,
    *,
    decision: Decision,
    because: str,
    decided_by: str | None,
) -> MarketDecision:
    """Record a decision. Takes a service transaction, which AlreadyDecided aborts."""
    try:
        row = await connection.fetchrow(_RECORD, market_id, state.name, decision.value, because, decided_by)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyDecided(AboutMarket(market_id)) from error
    assert row is not None, "an insert that returns"
    return _decision(row)


async def of_markets(
    connection: Reads, market_ids: Sequence[str], state: MarketState
) -> dict[str, MarketDecision]:
    """The decisions about these markets while they were in `state`, by id. Any caller may read them."""
    decided = [_decision(row) for row in await connection.fetch(_OF_MARKETS, list(market_ids))]
    return {one.market_id: one for one in decided if one.state is state}


async def of_market(connection: Reads, market_id: str) -> tuple[MarketDecision, ...]:
    """All decisions about a market, oldest first. Any caller may read them."""
    return tuple(_decision(row) for row in await connection.fetch(_OF_MARKETS, [market_id]))


def _decision(row: Record) -> MarketDecision:
    return MarketDecision(
        market_id=row["market_id"],
        state=MarketState[row["state"]],
        decision=Decision(row["decision"]),
        because=row["because"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
    )

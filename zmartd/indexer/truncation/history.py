"""Reads from the index what the program had in its accounts just before a transaction.

Whoever may deliver can claim any event. So nothing is inferred from one that was not compared with the chain,
nor from events of which one before them is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from asyncpg import Connection, Record
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import MarketCreated
from zmartd.chain.interface import ClaimWinnings
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.effects.configuration import (
    CONFIGURATION_EVENTS,
    ConfigurationCorrection,
    configuration_corrections,
)
from zmartd.indexer.effects.lifecycle import STATE_RANK
from zmartd.indexer.events.rows import EventRow, stored_row
from zmartd.indexer.rebuild.corrections import Correction, find_corrections
from zmartd.indexer.truncation.known import (
    Holding,
    Known,
    KnownConfiguration,
    KnownMarket,
    corrected,
    created,
)
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database

_BLOCKING = """
select tx_signature from truncated_transactions
 where resolved_at is null and not complete and commitment = 'finalized' and changes @> array[$1::text]
   and (slot < $2 or tx_signature = any($3::text[]))
 order by slot limit 1
"""
_PARKED = "select min(tx_signature) from parked_transactions where tx_signature = any($1::text[])"
_UNVERIFIED_OF_MARKET = """
select tx_signature from program_events
 where market_id = $1 and commitment = 'confirmed' and (slot < $2 or tx_signature = any($3::text[])) limit 1
"""
_UNVERIFIED_CONFIGURATION = """
select tx_signature from admin_events
 where event_type = any($1::text[]) and commitment = 'confirmed'
   and (slot < $2 or tx_signature = any($3::text[]))
 limit 1
"""
_MARKET = """
select id, initial_liquidity, corrected_slot
  from markets where on_chain_address = $1 and b_parameter is not null
"""
_EVENTS = """
select * from (
    select * from market_events where market_id = $1
    union all
    select * from vote_events where market_id = $1 and event_type = 'DisputeAggregated'
    union all
    select * from admin_events where market_id = $1
) as event
 where (slot < $2 or tx_signature = any($3::text[])) and slot > $4
"""
_TRADED = """
select coalesce(sum(change) filter (where outcome), 0), coalesce(sum(change) filter (where not outcome), 0),
       coalesce(sum(paid), 0), coalesce(sum(resolver_fee), 0)
  from (
      select outcome, resolver_fee,
             case trade_type when 'buy' then shares::numeric else -shares::numeric end as change,
             case trade_type when 'buy' then amount else -amount end as paid
        from trades
       where market_id = $1 and (slot < $2 or tx_signature = any($3::text[])) and slot > $4
  ) as trade
"""
_RESOLVER_PAID = """
select exists (
    select from trade_events
     where market_id = $1 and event_type = 'WinningsClaimed' and payload ? 'resolver_fee'
       and (slot < $2 or tx_signature = any($3::text[])))
"""
_HELD = """
with held as (
    select wallet, sum(yes) as yes, sum(no) as no, sum(invested) as invested, sum(returned) as returned
      from (
          select user_wallet as wallet, case when outcome then sign * shares else 0 end as yes,
                 case when outcome then 0 else sign * shares end as no,
                 case when sign > 0 then cost else 0 end as invested,
                 case when sign > 0 then 0 else cost end as returned
            from trades
           cross join lateral (select case trade_type when 'buy' then 1::numeric else -1 end as sign) as its
           where market_id = $1 and (slot < $2 or tx_signature = any($3::text[])) and slot > $4
          union all
          select side.wallet, case when moved.outcome then side.sign * moved.shares else 0 end,
                 case when moved.outcome then 0 else side.sign * moved.shares end, 0, 0
            from trade_events as event
           cross join lateral jsonb_to_record(event.payload) as moved (
                     "from" text, "to" text, outcome boolean, shares numeric)
           cross join lateral (values (moved."from", -1), (moved."to", 1)) as side (wallet, sign)
           where market_id = $1 and event_type = 'SharesTransferred'
             and (slot < $2 or tx_signature = any($3::text[])) and slot > $4
          union all
          select one.wallet, fact.shares_yes, fact.shares_no, fact.total_invested, fact.total_returned
            from market_corrections as made
           cross join lateral jsonb_each(made.positions) as one (wallet, facts)
           cross join lateral jsonb_to_record(one.facts) as fact (
                     shares_yes numeric, shares_no numeric, total_invested numeric, total_returned numeric)
           where made.market_id = $1 and made.slot = $4
      ) as change
     group by wallet
)
"""
_POSITIONS = f"{_HELD} select wallet, yes, no, invested, returned from held where wallet = any($5::text[])"  # noqa: S608 - constants
_REFUNDABLE = f"{_HELD} select coalesce(sum(greatest(invested - returned, 0)), 0) from held"  # noqa: S608 - constants
_AMBIGUOUS = """
select exists (select from protocol_config_history where slot = $2) or exists (
    select from admin_events where event_type = any($1::text[]) and slot <= $2
     group by slot having slot = $2 or count(distinct tx_signature) > 1 and bool_or(index_in_block is null))
"""
_CONFIGURATION = """
select * from admin_events
 where event_type = any($1::text[]) and (slot < $2 or tx_signature = any($3::text[]))
"""


class NotVerified(Exception):
    """An event before the transaction was not compared with the chain yet."""

    def __init__(self, signature: str) -> None:
        super().__init__(signature)
        self.signature = signature


class _Place(Struct, frozen=True):
    """A place in the history of one address: after all slots before `slot`, and after `earlier` in it.

    `positions` are those of the transactions before it, as far as one page of the history has them.
    """

    slot: int
    earlier: Sequence[str] = ()
    positions: Mapping[str, int] = {}

    def position(self, event: EventRow) -> tuple[int, int]:
        """Where the event's transaction is; those that the page lacks come before it."""
        return (event.slot, self.positions.get(event.signature, -1))


_Since = tuple[str, int, Sequence[str], int]
"""A market's id, the place up to which something of it counts (a slot, and the signatures that come first in
it), and the slot after which it does."""


class History:
    """The index as it was before a transaction that is final."""

    def __init__(self, database: Database, rpc: Rpc, pdas: Pdas) -> None:
        self._database = database
        self._rpc = rpc
        self._configuration = pdas.global_config()

    async def before(self, transaction: ChainTransaction) -> Known:
        """What is known before a transaction whose calls are known.

        Raises NotVerified, RpcUnavailable, RpcRejected, UnreadableRow, DatabaseUnavailable.
        """
        known = Known(await self._configuration_before(transaction))
        calls = [call for call in transaction.calls or () if "market" in call.accounts]
        for address in sorted({call.accounts["market"] for call in calls}, key=str):
            claimants = {
                call.accounts["user"]
                for call in calls
                if isinstance(call.instruction, ClaimWinnings) and call.accounts["market"] == address
            }
            place = await self._place(address, transaction)
            async with self._database.service() as connection:
                blocking = await connection.fetchval(_BLOCKING, str(address), place.slot, place.earlier)
                blocking = blocking or await connection.fetchval(_PARKED, list(place.positions))
                if blocking is not None:
                    known.missing[address] = f"{blocking} comes before"
                    continue
                await _read_market(connection, known, address, place, claimants)
        return known

    async def _place(self, address: Pubkey, transaction: ChainTransaction) -> _Place:
        before = await self._rpc.signatures_for_address(address, before=transaction.signature)
        before.reverse()
        return _Place(
            transaction.slot,
            [one.signature for one in before if one.slot == transaction.slot],
            {one.signature: position for position, one in enumerate(before)},
        )

    async def _configuration_before(self, transaction: ChainTransaction) -> KnownConfiguration:
        kinds, slot = sorted(CONFIGURATION_EVENTS), transaction.slot
        async with self._database.service() as connection:
            ambiguous = await connection.fetchval(_AMBIGUOUS, kinds, slot)
        place = await self._place(self._configuration, transaction) if ambiguous else _Place(slot)
        configuration = KnownConfiguration()
        async with self._database.service() as connection:
            blocking = await connection.fetchval(_BLOCKING, str(self._configuration), slot, place.earlier)
            if blocking is not None:
                return configuration
            await _require_verified(connection, _UNVERIFIED_CONFIGURATION, kinds, slot, place.earlier)
            rows = map(stored_row, await connection.fetch(_CONFIGURATION, kinds, slot, place.earlier))
            corrections = [
                one
                for one in await configuration_corrections(connection)
                if one.slot < slot or one.signature in place.earlier
            ]
        in_order = sorted(rows, key=lambda row: (*place.position(row), row.index_in_block or 0, row.ordinal))
        said: list[EventRow | ConfigurationCorrection] = [*in_order, *corrections]
        # Stable: the events of a slot stay in their order, and what corrects them comes last.
        for one in sorted(said, key=lambda one: one.slot):
            if isinstance(one, ConfigurationCorrection):
                configuration = configuration.corrected(one.facts)
            else:
                configuration = configuration.after(one.event)
        return configuration


async def _read_market(
    connection: Connection, known: Known, address: Pubkey, place: _Place, claimants: set[Pubkey]
) -> None:
    row = await connection.fetchrow(_MARKET, str(address))
    if row is None:
        return
    correction = None
    if row["corrected_slot"] is not None:
        correction = (await find_corrections(connection, [row["id"]])).get(row["id"])
        if correction is None or place.slot <= correction.slot:
            known.missing[address] = "it was corrected from its account, as of a later slot"
            return
    await _require_verified(connection, _UNVERIFIED_OF_MARKET, row["id"], place.slot, place.earlier)
    since = (row["id"], place.slot, place.earlier, -1 if correction is None else correction.slot)
    market = await _market(connection, row, place, correction, since)
    if market is None:
        return
    known.markets[address] = market
    if claimants:
        known.holdings = {
            **known.holdings,
            **await _holdings(connection, since, market, address, claimants),
        }


async def _require_verified(connection: Connection, query: str, *arguments: object) -> None:
    if (signature := await connection.fetchval(query, *arguments)) is not None:
        raise NotVerified(signature)


async def _market(
    connection: Connection, row: Record, place: _Place, correction: Correction | None, since: _Since
) -> KnownMarket | None:
    """From its correction on, if it has one. None where its creation is not known, or later."""
    market_id = row["id"]
    market = None if correction is None else corrected(market_id, correction.market)
    found = await connection.fetch(_EVENTS, *since)
    for event in sorted(map(stored_row, found), key=lambda event: _order(event, place)):
        if isinstance(event.event, MarketCreated):
            told = event.context.initial_liquidity
            market = created(event.event, int(row["initial_liquidity"] or 0) if told is None else told)
        elif market is not None:
            market = market.after(event.event)
    if market is None:
        return None
    ((yes, no, liquidity, fees),) = await connection.fetch(_TRADED, *since)
    paid = await connection.fetchval(_RESOLVER_PAID, market_id, place.slot, place.earlier)
    curve = market.curve.moved(True, int(yes)).moved(False, int(no))
    return msgspec.structs.replace(
        market,
        curve=curve,
        liquidity=market.liquidity + int(liquidity),
        unpaid_resolver_fees=0 if paid else market.unpaid_resolver_fees + int(fees),
    )


def _order(event: EventRow, place: _Place) -> tuple[int, int, int, int]:
    """The order on the chain; of transactions that the page lacks, the only one that is possible."""
    slot, position = place.position(event)
    rank = STATE_RANK.get(type(event.event), 0) if position < 0 else 0
    return (slot, position, rank, event.ordinal)


async def _holdings(
    connection: Connection, since: _Since, market: KnownMarket, address: Pubkey, wallets: set[Pubkey]
) -> dict[tuple[Pubkey, Pubkey], Holding]:
    """What these wallets held then. It does not change any more once something can be claimed."""
    rows = await connection.fetch(_POSITIONS, *since, sorted(map(str, wallets)))
    needed = market.state is MarketState.FINALIZED and market.final_outcome is None
    refundable = int(await connection.fetchval(_REFUNDABLE, *since)) if needed else 0
    return {
        (address, Pubkey.from_string(wallet)): Holding(
            int(yes), int(no), int(invested), int(returned), refundable
        )
        for wallet, yes, no, invested, returned in rows
    }

"""The market rows of a batch: created if missing, locked before the effects, advanced after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.chain.events import MarketCreated
from zmartd.indexer.effects.curves import CURVE_COLUMNS, StoredCurve, price_yes, stored_curve
from zmartd.indexer.events.rows import EventRow
from zmartd.market.lifecycle import MarketState
from zmartd.store import metadata
from zmartd.store.markets import MarketVersion

_BY_ADDRESS = "select on_chain_address, id from markets where on_chain_address = any($1::text[])"
_LOCK_ADDRESSES = """
select pg_advisory_xact_lock(hashtextextended('market address:' || address, 7))
  from unnest($1::text[]) as address
"""
_KNOWN = "select id from markets where id = any($1::text[])"
_CREATE = """
insert into markets (id, on_chain_address, created_at)
select * from unnest($1::text[], $2::text[], $3::timestamptz[])
on conflict do nothing
returning id, on_chain_address
"""
_LOCK = f"""
select id, state, version, orphaned, {CURVE_COLUMNS}
  from markets where id = any($1::text[]) order by id for update
"""  # noqa: S608 - constants
_WAITING = """
update trade_events set market_id = known.id
  from unnest($1::text[], $2::text[]) as known (id, address)
 where trade_events.market_id is null and trade_events.payload ->> 'market' = known.address
returning event_type, tx_signature, event_index, slot, index_in_block, block_time, payload
"""
_FIRST_TRADES = """
select given.id as market_id, first.slot
  from unnest($1::text[]) as given (id)
 cross join lateral (
       select slot from trades where trades.market_id = given.id order by slot limit 1) as first
"""
_FIRST_TRADES_SINCE = """
select markets.id as market_id, first.slot
  from markets
 cross join lateral (
       select slot from trades where trades.market_id = markets.id and trades.slot >= $1
        order by slot limit 1) as first
"""
_CURVES = f"select id, {CURVE_COLUMNS} from markets where id = any($1::text[])"  # noqa: S608 - constants
_ADVANCE = """
update markets
   set current_price_yes = advanced.price::numeric / 1000000000,
       current_price_no = (1000000000 - advanced.price)::numeric / 1000000000,
       slot = greatest(markets.slot, advanced.slot), version = markets.version + 1,
       commitment = case when $4 = 'confirmed' then 'confirmed' else markets.commitment end,
       orphaned = markets.orphaned and advanced.slot = 0
  from unnest($1::text[], $2::bigint[], $3::bigint[]) as advanced (id, price, slot)
 where markets.id = advanced.id
returning markets.id, on_chain_address, state, shares_yes, shares_no, b_parameter, total_volume,
          current_liquidity, proposed_outcome, final_outcome, awaiting_admin_approval, awaiting_decision,
          settles_at, markets.slot, version, category, commitment, orphaned,
          (current_price_yes * 1000000000)::bigint as price_yes
"""


class LockedMarket(Struct, frozen=True):
    """A market's row as it was when the batch locked it."""

    curve: StoredCurve
    state: MarketState
    version: int
    orphaned: bool

    @property
    def is_known(self) -> bool:
        """Whether subscribers know of it: it has been published, and its creation not taken back since."""
        return self.version > 0 and not self.orphaned


class ChangedMarket(MarketVersion, frozen=True, kw_only=True):
    """A market's row as a batch leaves it. `orphaned`: nothing of it is on the chain any more."""

    orphaned: bool


async def known_addresses(connection: Connection, rows: Sequence[EventRow]) -> dict[str, str]:
    """Ids of the markets that events name by address. Locks the addresses of unknown markets.

    The transaction that creates such a market takes the same lock, so that no event waits for a market that
    exists.
    """
    addresses = sorted({row.market_address for row in rows if row.market_address is not None})
    if not addresses:
        return {}
    known = await _ids(connection, addresses)
    missing = [address for address in addresses if address not in known]
    if missing:
        await connection.execute(_LOCK_ADDRESSES, missing)
        known |= await _ids(connection, missing)
    return known


async def ensure_markets(
    connection: Connection, first_seen: Mapping[str, tuple[str, datetime]]
) -> list[Record]:
    """Create the missing market rows. Returns the stored event rows that waited for one of these markets.

    `first_seen` maps market ids to the market's address and the time of its earliest event.
    """
    known = {row["id"] for row in await connection.fetch(_KNOWN, list(first_seen))}
    order = sorted(first_seen.keys() - known)
    if not order:
        return []
    made = await connection.fetch(
        _CREATE, order, [first_seen[key][0] for key in order], [first_seen[key][1] for key in order]
    )
    if not made:
        return []
    addresses = [row["on_chain_address"] for row in made]
    await connection.execute(_LOCK_ADDRESSES, sorted(addresses))
    return list(await connection.fetch(_WAITING, [row["id"] for row in made], addresses))


async def lock_markets(connection: Connection, market_ids: Iterable[str]) -> dict[str, LockedMarket]:
    """Lock market rows in the order of their ids, so that two batches never deadlock."""
    order = sorted(market_ids)
    rows = await connection.fetch(_LOCK, order) if order else []
    return {
        row["id"]: LockedMarket(stored_curve(row), MarketState[row["state"]], row["version"], row["orphaned"])
        for row in rows
    }


async def adopt_metadata(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Copy the texts that creators registered to their newly created markets."""
    created = created_markets(rows)
    if created:
        await metadata.adopt(connection, created)


async def trades_to_reprice(
    connection: Connection, rows: Sequence[EventRow], rates_changed_slot: int | None
) -> dict[str, int]:
    """Markets whose recorded trades this batch reprices, each with the slot to start from.

    A market's creation gives its curve a starting point; a change of fee rates affects every later trade.
    """
    created = created_markets(rows)
    found: list[Record] = []
    if rates_changed_slot is not None:
        found += await connection.fetch(_FIRST_TRADES_SINCE, rates_changed_slot)
    if created:
        found += await connection.fetch(_FIRST_TRADES, created)
    return {row["market_id"]: row["slot"] for row in found}


def created_markets(rows: Sequence[EventRow]) -> list[str]:
    """The ids of the markets that events create."""
    return [row.event.market_id.hex() for row in rows if type(row.event) is MarketCreated]


async def curves_after_creations(
    connection: Connection, locked: Mapping[str, LockedMarket], rows: Sequence[EventRow]
) -> dict[str, StoredCurve]:
    """The curves before the batch's trades. Only a creation can have changed one since it was locked."""
    curves = {market_id: market.curve for market_id, market in locked.items()}
    created = created_markets(rows)
    return curves | await _curves(connection, created) if created else curves


async def advance_markets(
    connection: Connection, slots: Mapping[str, int], commitment: Commitment
) -> list[ChangedMarket]:
    """Write the price, the slot and the next version of changed markets. Returns their rows.

    `slots` maps market ids to the slot of the last change, or to 0 where only trades were repriced.
    `commitment` is that of the change.
    """
    now = await _curves(connection, slots)
    order = sorted(now)
    rows = await connection.fetch(
        _ADVANCE,
        order,
        [price_yes(now[key].curve) for key in order],
        [slots[key] for key in order],
        commitment,
    )
    return [ChangedMarket(**{**dict(row), "state": MarketState[row["state"]]}) for row in rows]


async def _curves(connection: Connection, market_ids: Iterable[str]) -> dict[str, StoredCurve]:
    """The curves as this database transaction sees them."""
    return {row["id"]: stored_curve(row) for row in await connection.fetch(_CURVES, list(market_ids))}


async def _ids(connection: Connection, addresses: Sequence[str]) -> dict[str, str]:
    rows = await connection.fetch(_BY_ADDRESS, addresses)
    return {row["on_chain_address"]: row["id"] for row in rows}

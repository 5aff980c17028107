"""The market rows of a batch: created if missing, locked before the effects, advanced after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.chain.events import MarketCreated
from zmartd.indexer.effects.curves import CURVE_COLUMNS, StoredCurve, price_yes, stored_curve
from zmartd.indexer.effects.market_sums import MarketSums
from zmartd.indexer.events.rows import EventRow
from zmartd.market.lifecycle import MarketState
from zmartd.store import metadata
from zmartd.store.markets import MarketVersion

_BY_ADDRESS = "select on_chain_address, id from markets where on_chain_address = any($1::text[])"
_LOCK_ADDRESSES = """
select pg_advisory_xact_lock(hashtextextended('market address:' || address, 7))
  from unnest($1::text[]) as address
"""
_CREATE = """
insert into markets (id, on_chain_address, created_at)
select * from unnest($1::text[], $2::text[], $3::timestamptz[]) as given (id, on_chain_address, created_at)
 where not exists (select from markets where markets.id = given.id)
 order by given.id
on conflict do nothing
returning id, on_chain_address
"""
_LOCK = f"""
select id, state, version, orphaned, resolution_proposed_at is not null as is_resolved, {CURVE_COLUMNS}
  from markets where id = any($1::text[]) order by id for update
"""  # noqa: S608 - constants
_LOCK_IF_ALL_ARE_THERE = f"""
select id, state, version, orphaned, resolution_proposed_at is not null as is_resolved, {CURVE_COLUMNS}
  from markets
 where id = any($1::text[])
   and (select count(*) from markets where id = any($1::text[])) = cardinality($1::text[])
 order by id for update
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
   set shares_yes = shares_yes + advanced.yes, shares_no = shares_no + advanced.no,
       trades_count = trades_count + advanced.trades,
       current_liquidity = current_liquidity + advanced.liquidity,
       total_volume = total_volume + advanced.volume,
       accumulated_protocol_fees = accumulated_protocol_fees + advanced.protocol_fees,
       resolver_fees_earned = resolver_fees_earned + advanced.resolver_fees,
       lp_fees_earned = lp_fees_earned + advanced.lp_fees,
       current_price_yes = advanced.price::numeric / 1000000000,
       current_price_no = (1000000000 - advanced.price)::numeric / 1000000000,
       slot = greatest(markets.slot, advanced.slot), version = markets.version + 1,
       commitment = case when $12 = 'confirmed' then 'confirmed' else markets.commitment end,
       orphaned = markets.orphaned and advanced.slot = 0
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[], $6::int[], $7::numeric[],
              $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[])
       as advanced (id, price, slot, yes, no, trades, liquidity, volume, protocol_fees, resolver_fees,
                    lp_fees)
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
    is_resolved: bool
    """Whether an outcome was proposed."""

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
    order = sorted(first_seen)
    made = await connection.fetch(
        _CREATE, order, [first_seen[key][0] for key in order], [first_seen[key][1] for key in order]
    )
    if not made:
        return []
    addresses = [row["on_chain_address"] for row in made]
    await connection.execute(_LOCK_ADDRESSES, sorted(addresses))
    return list(await connection.fetch(_WAITING, [row["id"] for row in made], addresses))


async def lock_markets(
    connection: Connection, market_ids: Iterable[str], *, unless_one_is_missing: bool = False
) -> dict[str, LockedMarket]:
    """Lock market rows in the order of their ids, so that two batches never deadlock.

    With `unless_one_is_missing` none of them is locked if one is: who creates it has to lock nothing before.
    """
    order = sorted(market_ids)
    statement = _LOCK_IF_ALL_ARE_THERE if unless_one_is_missing else _LOCK
    rows = await connection.fetch(statement, order) if order else []
    return {
        row["id"]: LockedMarket(
            stored_curve(row),
            MarketState[row["state"]],
            row["version"],
            row["orphaned"],
            row["is_resolved"],
        )
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
    if not created:
        return curves
    return curves | {row["id"]: stored_curve(row) for row in await connection.fetch(_CURVES, created)}


async def advance_markets(
    connection: Connection,
    slots: Mapping[str, int],
    curves: Mapping[str, StoredCurve],
    sums: Mapping[str, MarketSums],
    commitment: Commitment,
) -> list[ChangedMarket]:
    """Add what trades add to changed markets, and write their price, slot and next version. Returns the rows.

    `slots` maps market ids to the slot of the last change, or to 0 where only trades were repriced; `curves`
    are those in their rows, which are locked. `commitment` is that of the change.
    """
    order = sorted(slots.keys() & curves.keys())
    if not order:
        return []
    added = [sums.get(market_id, MarketSums()) for market_id in order]
    after = [curves[key].after(one.yes, one.no) for key, one in zip(order, added, strict=True)]
    rows = await connection.fetch(
        _ADVANCE,
        order,
        [price_yes(one.curve) for one in after],
        [slots[key] for key in order],
        *([getattr(one, name) for one in added] for name in MarketSums.__struct_fields__),
        commitment,
    )
    return [ChangedMarket(**{**dict(row), "state": MarketState[row["state"]]}) for row in rows]


async def _ids(connection: Connection, addresses: Sequence[str]) -> dict[str, str]:
    rows = await connection.fetch(_BY_ADDRESS, addresses)
    return {row["on_chain_address"]: row["id"] for row in rows}
